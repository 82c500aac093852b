"""The recurrent decoder's steps through whole captions, and the backward pass through them.

A step (`cells.py`) is the only place where a cell and its attention are computed; searches call it word by word,
`recur` calls it for teacher forcing. What depends on images or words alone is computed outside, once per image and for
all words at once; all that reads the hidden state is one matrix product, and the context that follows from it goes
through a second.
Projecting all regions onto the gates instead, once per image, costs as many products (an image has about as many
regions as its captions have words) and makes something four times as wide of them, to be read at every step.

The backward pass is written out (Werbos 1990): gradients of weights and of image-side tensors come from one matrix
product over all steps instead of one each, and nothing of the size image x caption x region x attention is kept. Steps
that are run in several parts add up what they pass on to the same images and weights in place (`Gradients`). Steps that
are computed again know their hidden states and where they looked (`Trace`), and their matrix products are one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from src.models.cells import Cell, State, Step, Told, advance, attend, step, step_back
from src.models.fusion import Fuse, as_written
from src.models.memory import Gradients, Memory, Weights
from src.models.onepass import quickest

KEPT = 6
"""Tensors of a step that its backward pass needs and that no other step shares."""


class Trace:
    """Of steps that are computed twice, what the first time leaves to the second: little to keep, much to compute."""

    def __init__(self) -> None:
        self.known: tuple[Tensor, ...] | None = None


class Recurred(NamedTuple):
    """All steps of a teacher-forced pass, packed as the inputs were.

    Attributes:
        state: behind the last step, of the captions active in it.
    """

    hidden: Float[Tensor, "image position hidden"]
    attention: Float[Tensor, "image position region"]
    context: Float[Tensor, "image position hidden"]
    state: State


def recur(
    cell: Cell,
    active: Sequence[int],
    word_gates: Float[Tensor, "image position gate"],
    memory: Memory,
    state: State,
    gradients: Gradients,
    trace: Trace | None = None,
    fuse: Fuse[Any] = as_written,
) -> Recurred:
    """Run packed captions through the cell from `state`; differentiable in every tensor.

    Args:
        active: captions per image in each step, never growing; `word_gates` holds the steps one behind the other.
        gradients: those that `memory` was made with.
        trace: of these same steps, if they are computed twice.
        fuse: how a step and its backward pass are run.
    """
    known = memory.regions, memory.keys, *memory.weights
    hidden, attended, context, content = _Recurrence.apply(
        cell, tuple(active), gradients, trace, fuse, word_gates, *known, *state
    )
    last = State(hidden[:, hidden.shape[1] - active[-1] :], content)
    return Recurred(hidden, attended, context, last)


def _before(
    active: Sequence[int], first: Float[Tensor, "image caption size"], after: Float[Tensor, "image position size"]
) -> Float[Tensor, "image position size"]:
    """The values before each step, of `first` and those after each step."""
    starts = [0, *itertools.accumulate(active)]
    former = [after[:, start : start + count] for start, count in zip(starts, active[1:], strict=False)]
    return torch.cat([first, *former], dim=1)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        active: tuple[int, ...],
        gradients: Gradients,
        trace: Trace | None,
        fuse: Fuse[Any],
        word_gates: Tensor,
        regions: Tensor,
        keys: Tensor,
        matrix: Tensor,
        bias: Tensor,
        v: Tensor,
        context_matrix: Tensor,
        hidden: Tensor,
        content: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.cell, ctx.active, ctx.gradients, ctx.fuse = cell, active, gradients, fuse
        ctx.dtypes = [x.dtype for x in (word_gates, hidden, content)]
        with torch.autocast(keys.device.type, enabled=False):
            # Kernels are compiled anew for a tensor that differs in whether it asks for a gradient.
            word_gates, regions, keys, matrix, bias, v, context_matrix, hidden, content = (
                x.detach() for x in (word_gates, regions, keys, matrix, bias, v, context_matrix, hidden, content)
            )
            memory = Memory(regions, keys, Weights(matrix, bias, v, context_matrix))
            # And for each layout of its tensors: states are always contiguous.
            first = State(hidden.to(matrix.dtype).contiguous(), content.to(v.dtype).contiguous())
            pieces = list(active)
            if trace is None or trace.known is None:
                steps, state, run = [], first, quickest(step, memory, fuse)
                for count, inputs in zip(active, torch.split(word_gates, pieces, dim=1), strict=True):
                    going_on = State(state.hidden[:, :count].contiguous(), state.cell[:, :count].contiguous())
                    steps.append(run(cell, inputs, memory, going_on))
                    state = steps[-1].state
                after, looked, openness, context = (
                    torch.cat(values, dim=1)
                    for values in zip(
                        *((one.state.hidden, one.attention, one.openness, one.context) for one in steps), strict=True
                    )
                )
                kept = [(one.state.cell, one.query, *one.gates) for one in steps]
                last = steps[-1].state.cell
                if trace is not None:
                    trace.known = after, looked
            else:
                after, looked = trace.known
                before = _before(active, first.hidden, after)
                told = quickest(attend, memory, fuse)(memory, before, looked)
                openness, context, last = told.openness, told.context, first.cell
                kept, following = [], quickest(advance, memory, fuse)
                by_step = (torch.split(values, pieces, dim=1) for values in (word_gates, before, *told))
                for inputs, formerly, *own in zip(*by_step, strict=True):
                    one = following(cell, inputs, Told(*own), State(formerly, last[:, : inputs.shape[1]].contiguous()))
                    last = one.state.cell
                    kept.append((last, one.query, *one.gates))
            ctx.save_for_backward(
                regions,
                keys,
                matrix,
                v,
                context_matrix,
                first.hidden,
                first.cell,
                after,
                looked,
                openness,
                context,
                *(values for of_step in kept for values in of_step),
            )
        return after.detach(), looked.detach(), context.detach(), last.detach()

    @staticmethod
    def backward(
        ctx: Any, d_hidden: Tensor, d_looked: Tensor, d_context: Tensor, d_content: Tensor
    ) -> tuple[Tensor | None, ...]:
        saved = (x.detach() for x in ctx.saved_tensors)
        regions, keys, matrix, v, context_matrix, hidden_0, cell_0, hidden, looked, openness, context, *kept = saved
        memory = Memory(regions, keys, Weights(matrix, v, v, context_matrix))  # the bias is not asked for
        run, size = quickest(step_back, memory, ctx.fuse), hidden.shape[-1]
        dtype, wide = matrix.dtype, v.dtype
        d_inputs = hidden.new_empty(*hidden.shape[:2], len(context_matrix))
        d_seen = torch.empty_like(context)
        # Step by step, so that each step's share is one matrix; over all steps the order does not matter.
        images, positions = hidden.shape[:2]
        d_product = hidden.new_empty(images * positions, matrix.shape[0])
        before = hidden.new_empty(images * positions, size)
        d_keys, d_v = ctx.gradients.zeros("keys", keys), ctx.gradients.zeros("v", keys[:, 0])
        back_hidden = hidden_0.new_zeros(hidden_0.shape[0], 0, size, dtype=wide)
        back_cell = d_content.to(wide)
        ends = list(itertools.accumulate(ctx.active))
        for time in reversed(range(len(ctx.active))):
            count = ctx.active[time]
            here = slice(ends[time] - count, ends[time])
            rows = slice(images * here.start, images * here.stop)
            former_hidden = before[rows].view(images, count, size)
            last = here.start - ctx.active[time - 1]
            former_hidden.copy_(hidden[:, last : last + count] if time else hidden_0)
            former_cell = kept[KEPT * (time - 1)][:, :count].contiguous() if time else cell_0
            content, query, *gates = kept[KEPT * time : KEPT * (time + 1)]
            done = Step(
                State(hidden[:, here], content),
                tuple(gates),
                looked[:, here],
                openness[:, here],
                query,
                context[:, here],
            )
            # The incoming gradient belongs to autograd; captions that end here bring nothing from later steps.
            d_h = d_hidden[:, here].to(wide, copy=True)
            d_h[:, : back_hidden.shape[1]] += back_hidden
            d_c = functional.pad(back_cell, (0, 0, 0, d_h.shape[1] - back_cell.shape[1]))
            back_hidden, back_cell = run(
                ctx.cell,
                memory,
                State(former_hidden, former_cell),
                done,
                State(d_h, d_c),
                d_looked[:, here],
                d_context[:, here],
                d_keys,
                d_v,
                d_inputs[:, here],
                d_product[rows].view(images, count, len(matrix)),
                d_seen[:, here],
            )
        ctx.gradients.add_outer("matrix", d_product, before)
        ctx.gradients.add_sum("bias", d_product)
        del d_product, before, done  # the peak of a training step is here
        ctx.gradients.add_outer("context", d_inputs.flatten(0, 1), context.flatten(0, 1))
        ctx.gradients.add("regions", (looked * openness).to(dtype).transpose(1, 2), d_seen)
        found = d_inputs, back_hidden, back_cell if cell_0.numel() else torch.zeros_like(cell_0)
        inputs, *state = (x.to(kind) for x, kind in zip(found, ctx.dtypes, strict=True))
        return (*[None] * 5, inputs, *[None] * 6, *state)
