"""Gradients of several processes as one, and which parameters decay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from src.processes import Group


def add_up(parameters: Iterable[nn.Parameter], group: Group) -> None:
    """Add up every parameter's gradient over the processes, in one exchange.

    Called after the last micro-batch. DistributedDataParallel would exchange parts of the gradient during the backward
    pass; then a process that ran out of memory in the middle could not begin its batch again while the others wait for
    its part. A decoder's gradient is small enough for one exchange behind it to cost next to nothing.
    """
    if group.size == 1:
        return
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:
        if parameter.grad is None:  # a process without an image in a small last batch
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([_gradient(parameter).flatten() for parameter in learning])
    dist.all_reduce(flat)
    start = 0
    for parameter in learning:
        _gradient(parameter).copy_(flat[start : start + parameter.numel()].view_as(parameter))
        start += parameter.numel()


def parameter_groups(decoder: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, an embedding too where words are told by it; biases, norms, positions and other embeddings do
    not."""
    decayed = [module.weight for module in decoder.modules() if isinstance(module, nn.Linear)]
    known = {id(parameter) for parameter in decayed}
    rest = [parameter for parameter in decoder.parameters() if id(parameter) not in known]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


class MovingAverage:
    """An exponential moving average of parameters (Polyak and Juditsky 1992; warmed up as in Szegedy et al. 2016)."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.decay = decay
        self.values: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimiser step number `step` (1 is the first)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [*self.parameters], 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin again with the parameters as they are, after they were set from elsewhere."""
        torch._foreach_copy_(self.values, [*self.parameters])

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with their averages; a second call undoes it."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            former = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(former)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with the prefix, without it."""
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
