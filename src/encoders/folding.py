"""Batch norms become part of the convolutions before them: the same grids, up to rounding, in less time."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from src.encoders.encoder import Encoder, Reached
from src.encoders.side_by_side import SideBySide


def folded(encoder: Encoder) -> Encoder:
    """A copy for looking at pictures only: in evaluation mode a batch norm is one scale and one shift for each channel
    (Ioffe and Szegedy 2015), which the weights and the bias of the convolution before it can hold."""
    copy = deepcopy(encoder).requires_grad_(False)
    for member in copy.encoders if isinstance(copy, SideBySide) else [copy]:
        network = member.network
        for place, behind in _pairs(member).items():
            convolution, norm = network.get_submodule(place), network.get_submodule(behind)
            assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            network.set_submodule(place, fuse_conv_bn_eval(convolution, norm))
            network.set_submodule(behind, nn.Identity())
    return copy.to(memory_format=torch.channels_last)


def _pairs(encoder: Encoder) -> dict[str, str]:
    """Convolutions and the batch norm that each one's output goes into, as one run shows them."""
    made: dict[int, str] = {}
    kept: list[Tensor] = []  # as long as they are, no other tensor has their address
    pairs: dict[str, str] = {}
    ran: list[str] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def leaves(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ran.append(name)
            if isinstance(module, nn.Conv2d):
                made[id(output)] = name
                kept.append(output)
            elif id(inputs[0]) in made:
                pairs[made[id(inputs[0])]] = name

        return module.register_forward_hook(leaves)

    handles = [
        watch(name, module)
        for name, module in encoder.network.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and name != encoder.layer
    ]
    with torch.inference_mode(), suppress(Reached):
        encoder.network(torch.zeros(1, 3, encoder.image_size, encoder.image_size, device=encoder.mean.device))
    for handle in handles:
        handle.remove()
    return {convolution: norm for convolution, norm in pairs.items() if ran.count(convolution) == ran.count(norm) == 1}
