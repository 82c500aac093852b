"""What a recurrent decoder's steps know of their images, and where they leave its gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from src.models import attention, native


class Weights(NamedTuple):
    """What every step multiplies with.

    Attributes:
        matrix, bias: hidden state -> gates, attention query, openness of the context gate.
        v: how attention units add up to a score; single precision at least.
        context: context -> gates.
    """

    matrix: Float[Tensor, "product hidden"]
    bias: Float[Tensor, " product"]
    v: Float[Tensor, " attention"]
    context: Float[Tensor, "gate hidden"]


class Layer(NamedTuple):
    """Weights of a linear layer in the precision that it computes in."""

    weight: Float[Tensor, "output input"]
    bias: Float[Tensor, " output"]


class Memory(NamedTuple):
    """What a step needs to know of its images, computed once per image.

    Attributes:
        regions: of which attention makes a context.
        keys: `attention.exponentials` of their keys.
    """

    regions: Float[Tensor, "image region hidden"]
    keys: Float[Tensor, "image region attention"]
    weights: Weights


class Gradients:
    """What the steps on one memory pass on to it and to the layers around them, added up in place.

    Autograd would make a gradient of its own for every part of the steps, and hold it beside their sum.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._turned: set[str] = set()

    def zeros(self, name: str, like: Tensor) -> Tensor:
        """The sum so far, to be added to."""
        if name not in self._sums:
            self._sums[name] = torch.zeros_like(like, memory_format=torch.contiguous_format)
        return self._sums[name]

    def add(self, name: str, left: Tensor, right: Tensor) -> None:
        """Add a product of two matrices, or of two batches of them."""
        if name not in self._sums:
            self._sums[name] = left @ right
        elif left.dim() == 2:
            self._sums[name].addmm_(left, right)
        else:
            self._sums[name].baddbmm_(left, right)

    def add_outer(self, name: str, outputs: Float[Tensor, "row output"], inputs: Float[Tensor, "row input"]) -> None:
        """Add what rows bring to a matrix that made outputs of inputs."""
        if native.turns(outputs):  # a product whose first matrix lies the other way round takes twice the time
            self._turned.add(name)
            self.add(name, native.turned(inputs, inputs.dtype), outputs)
        else:
            self.add(name, outputs.T, inputs)

    def add_sum(self, name: str, rows: Float[Tensor, "row output"]) -> None:
        """Add what rows bring to a bias, in single precision at least."""
        wide = torch.promote_types(rows.dtype, torch.float32)
        self.zeros(name, rows.new_empty(rows.shape[1], dtype=wide)).add_(rows.sum(dim=0))

    def take(self, name: str) -> Tensor | None:
        """The sum, which begins again; nothing if nothing was added."""
        found = self._sums.pop(name, None)
        return native.turned(found, torch.float32) if found is not None and name in self._turned else found


def remember(
    regions: Float[Tensor, "image region hidden"],
    keys: Float[Tensor, "image region attention"],
    weights: Weights,
    dtype: torch.dtype,
    gradients: Gradients | None = None,
) -> Memory:
    """What steps need to know, in the precisions that they compute in.

    Args:
        keys: of the regions, not yet their exponentials.
        dtype: of the matrix products.
        gradients: where `recur` leaves those of this memory; without it nothing is differentiable.
    """
    entered = regions, keys, *weights
    known = _known(dtype, *entered) if gradients is None else _Remembered.apply(gradients, dtype, *entered)
    return Memory(known[0], known[1], Weights(*known[2:]))


def _known(
    dtype: torch.dtype, regions: Tensor, keys: Tensor, matrix: Tensor, bias: Tensor, v: Tensor, context: Tensor
) -> tuple[Tensor, ...]:
    wide = v.to(torch.promote_types(dtype, torch.float32))
    return regions.to(dtype), attention.exponentials(keys), matrix.to(dtype), bias.to(dtype), wide, context.to(dtype)


def layer(linear: nn.Linear, dtype: torch.dtype, gradients: Gradients, name: str) -> Layer:
    """A layer for `through`: its weights rounded once for all that goes through.

    Args:
        dtype: of the matrix products.
        gradients: where `through` leaves those of the layer, under `name`.
    """
    return Layer(*_Layer.apply(gradients, dtype, name, linear.weight, linear.bias))


def through(
    layer: Layer, inputs: Float[Tensor, "*any input"], gradients: Gradients, name: str, wanted: bool = True
) -> Float[Tensor, "*any output"]:
    """Inputs, in the layer's precision, led through it.

    Args:
        wanted: whether anybody reads the outputs; if not, they are no numbers, and there is but the way back.
    """
    outputs: Tensor = _Through.apply(gradients, name, wanted, inputs, *layer)
    return outputs


class _Layer(torch.autograd.Function):
    """Passes the sums on when everything that went through has added to them; autograd itself brings nothing."""

    @staticmethod
    def forward(
        ctx: Any, gradients: Gradients, dtype: torch.dtype, name: str, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.gradients, ctx.name, ctx.dtype = gradients, name, weight.dtype
        return weight.to(dtype), bias.to(dtype)

    @staticmethod
    def backward(ctx: Any, *_: None) -> tuple[Tensor | None, ...]:
        sums = (ctx.gradients.take(name) for name in (ctx.name, f"{ctx.name} bias"))
        return (None, None, None, *(None if x is None else x.to(ctx.dtype) for x in sums))


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gradients: Gradients, name: str, wanted: bool, inputs: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.gradients, ctx.name = gradients, name
        ctx.save_for_backward(inputs, weight)
        if not wanted:
            return inputs.new_empty(*inputs.shape[:-1], len(weight))
        with torch.autocast(inputs.device.type, enabled=False):
            rows = functional.linear(inputs.flatten(0, -2), weight, bias)  # of more axes, the bias is a pass of its own
            return rows.view(*inputs.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        ctx.gradients.add_outer(ctx.name, rows, inputs.flatten(0, -2))
        ctx.gradients.add_sum(f"{ctx.name} bias", rows)
        return None, None, None, gradient @ weight, None, None


class _Remembered(torch.autograd.Function):
    """Passes the sums on when all steps have added to them; autograd itself brings nothing."""

    @staticmethod
    def forward(ctx: Any, gradients: Gradients, dtype: torch.dtype, *entered: Tensor) -> tuple[Tensor, ...]:
        known = _known(dtype, *entered)
        ctx.set_materialize_grads(False)
        ctx.gradients, ctx.dtypes = gradients, [x.dtype for x in entered]
        ctx.save_for_backward(known[4])
        return known

    @staticmethod
    def backward(ctx: Any, *_: None) -> tuple[Tensor | None, ...]:
        names = "regions", "keys", "matrix", "bias", "v", "context"
        sums = {name: ctx.gradients.take(name) for name in names}
        (v,) = ctx.saved_tensors
        if sums["keys"] is not None:
            sums["keys"].mul_(4 * v)
            sums["v"] = sums["v"].sum(dim=0)
        found = (sums[name] for name in names)
        return (None, None, *(None if x is None else x.to(kind) for x, kind in zip(found, ctx.dtypes, strict=True)))
