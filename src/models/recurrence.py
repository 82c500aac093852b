"""One step of the recurrent decoder, and the backward pass through a whole caption.

`step` is the only place where a cell and its attention are computed; searches call it word by word, `recur` calls it
for teacher forcing. What depends on images or words alone is computed outside, once per image and for all words at
once; all that reads the hidden state is one matrix product, and the context that follows from it goes through a second.
Projecting all regions onto the gates instead, once per image, costs as many products (an image has about as many
regions as its captions have words) and makes something four times as wide of them, to be read at every step.

The backward pass is written out (Werbos 1990): gradients of weights and of image-side tensors come from one matrix
product over all steps instead of one each, and nothing of the size image x caption x region x attention is kept. Steps
that are run in several parts add up what they pass on to the same images and weights in place (`Gradients`). Steps that
are computed again know their states and where they looked (`Trace`), and then all of them are one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from src.models import attention
from src.models.fusion import Fuse, as_written
from src.models.memory import Gradients, Memory, Weights

Cell = Literal["lstm", "gru"]
GATES = {"lstm": 4, "gru": 3}
KEPT = 6
"""Tensors of a step that its backward pass needs and that no other step shares."""


class State(NamedTuple):
    """What a decoder remembers of a caption. A GRU has no cell; its `cell` is empty (size 0)."""

    hidden: Float[Tensor, "image caption hidden"]
    cell: Float[Tensor, "image caption cell"]


class Step(NamedTuple):
    """One step's outcome, and what its backward pass needs.

    Attributes:
        attention: sums to 1 over the regions.
        openness: of the context gate, 0 to 1.
        query: its exponential.
        gates: after their non-linearities: LSTM input, forget, candidate, output; GRU reset, update, candidate, and the
            candidate's share of the hidden state as it is before the reset gate.
        context: what was seen: regions by attention times openness.
    """

    state: State
    attention: Float[Tensor, "image caption region"]
    openness: Float[Tensor, "image caption 1"]
    query: Float[Tensor, "image caption attention"]
    gates: tuple[Float[Tensor, "image caption hidden"], ...]
    context: Float[Tensor, "image caption hidden"]


def step(
    cell: Cell,
    word_gates: Float[Tensor, "image caption gate"],
    memory: Memory,
    state: State,
    looked: Float[Tensor, "image caption region"] | None = None,
) -> Step:
    """One word on. Matrix products are done in the precision of the weights, the rest in single precision at least.

    Args:
        looked: the attention, if this step was computed before.
    """
    weights, hidden = memory.weights, state.hidden.shape[-1]
    gate_size = GATES[cell] * hidden
    # Flat, because a product with a slice of captions would be done image by image, each with a copy of the matrix.
    product = torch.addmm(weights.bias, state.hidden.reshape(-1, hidden), weights.matrix.T)
    product = product.view(*state.hidden.shape[:2], product.shape[-1])
    wide = weights.v.dtype
    query = attention.exponentials(product[..., gate_size:-1])
    if looked is None:
        looked = attention.scores(memory.keys, query, weights.v).softmax(dim=-1)
    openness = product[..., -1:].to(wide).sigmoid()
    context = torch.bmm((looked * openness).to(memory.regions.dtype), memory.regions)
    seen = (context.flatten(0, 1) @ weights.context.T).view(word_gates.shape)
    # Gate by gate, so that nothing is as wide as all of them but what the products give.
    by_word, by_context, by_state = (
        torch.split(gates, hidden, dim=-1) for gates in (word_gates, seen, product[..., :gate_size])
    )

    def told(gate: int) -> Tensor:
        words: Tensor = by_word[gate].to(wide)
        return words + by_context[gate]

    if cell == "lstm":
        enter, forget, candidate, leave = (told(gate).add_(by_state[gate]) for gate in range(4))
        gates = enter.sigmoid_(), forget.sigmoid_(), _tanh(candidate), leave.sigmoid_()
        content = gates[1] * state.cell + gates[0] * gates[2]
        following = State((gates[3] * _tanh(content)).to(state.hidden.dtype), content)
        return Step(following, looked, openness, query, gates, context)
    reset, update = (told(gate).add_(by_state[gate]).sigmoid_() for gate in range(2))
    recurrent = by_state[2].to(wide, copy=True)  # kept without the rest of the product
    candidate = _tanh(torch.addcmul(told(2), reset, recurrent))
    new = torch.lerp(candidate, state.hidden.to(wide), update)
    following = State(new.to(state.hidden.dtype), state.cell)
    return Step(following, looked, openness, query, (reset, update, candidate, recurrent), context)


def _tanh(values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The hyperbolic tangent. Fused kernels take four times longer for their own than for an exponential."""
    return 1 - 2 / (1 + (2 * values).exp()) if torch.compiler.is_compiling() else values.tanh()


def step_back(
    cell: Cell,
    memory: Memory,
    before: State,
    done: Step,
    d_state: State,
    d_looked: Float[Tensor, "image caption region"],
    d_context: Float[Tensor, "image caption hidden"],
    key_gradient: Float[Tensor, "image region attention"],
    v_gradient: Float[Tensor, "image attention"],
    d_inputs: Float[Tensor, "image caption gate"],
    d_product: Float[Tensor, "image caption product"],
    d_seen: Float[Tensor, "image caption hidden"],
) -> State:
    """The backward pass of `step`. Returns the gradient of the state before.

    Args:
        before: the state that `done` was computed from.
        d_state, d_looked, d_context: gradients of the new state, of the attention, and of the context from outside.
        key_gradient, v_gradient: this step's share is added to them (see `attention.add_gradients`).
        d_inputs, d_product, d_seen: where the gradients of the words' share of the gates, of the product with the
            hidden state, and of the context, the gates' share included, are written.
    """
    matrix, v = memory.weights.matrix, memory.weights.v
    wide = v.dtype
    d_h = d_state.hidden
    if cell == "lstm":
        enter, forget, proposal, leave = done.gates
        squashed = _tanh(done.state.cell)
        d_c = d_state.cell + d_h * leave * (1 - squashed * squashed)
        d_gates: tuple[Tensor, ...] = (
            d_c * proposal * enter * (1 - enter),
            d_c * before.cell * forget * (1 - forget),
            d_c * enter * (1 - proposal * proposal),
            d_h * squashed * leave * (1 - leave),
        )
        d_recurrent: tuple[Tensor, ...] = d_gates
        back_cell = d_c * forget
    else:
        reset, update, proposal, by_state = done.gates
        d_proposal = d_h * (1 - update) * (1 - proposal * proposal)
        d_update = d_h * (before.hidden.to(wide) - proposal) * update * (1 - update)
        d_reset = d_proposal * by_state * reset * (1 - reset)
        d_gates = d_reset, d_update, d_proposal
        d_recurrent = d_reset, d_update, d_proposal * reset
        back_cell = d_state.cell
    d_in = torch.cat([gate.to(d_inputs.dtype) for gate in d_gates], dim=-1)
    d_inputs.copy_(d_in)
    looked, opened = done.attention, done.openness
    d_seen.copy_(d_context + (d_in.flatten(0, 1) @ memory.weights.context).view(d_context.shape))
    d_w = torch.bmm(d_seen, memory.regions.transpose(1, 2)).to(wide)
    d_open = (d_w * looked).sum(dim=-1, keepdim=True)
    d_look = d_w * opened + d_looked
    d_score = looked * (d_look - (looked * d_look).sum(dim=-1, keepdim=True))
    d_query = attention.add_gradients(memory.keys, done.query, v, d_score, key_gradient, v_gradient)
    torch.cat([*d_recurrent, d_query * (4 * v), d_open * opened * (1 - opened)], dim=-1, out=d_product)
    back_hidden = (d_product.flatten(0, 1) @ matrix).view(d_h.shape).to(wide)
    if cell == "gru":
        back_hidden = back_hidden + d_h * update
    return State(back_hidden, back_cell)


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
            run, pieces = fuse(step), list(active)
            if trace is None or trace.known is None:
                steps, state = [], first
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
                    cells = torch.cat([one.state.cell for one in steps], dim=1)
                    trace.known, last = (after, cells, looked), cells[:, cells.shape[1] - active[-1] :]
            else:
                after, cells, looked = trace.known
                before = State(_before(active, first.hidden, after), _before(active, first.cell, cells))
                done = run(cell, word_gates, memory, before, looked)
                openness, context = done.openness, done.context
                parts = (torch.split(values, pieces, dim=1) for values in (cells, done.query, *done.gates))
                kept = list(zip(*parts, strict=True))
                last = kept[-1][0]
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
        run, size = ctx.fuse(step_back), hidden.shape[-1]
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
                looked[:, here],
                openness[:, here],
                query,
                tuple(gates),
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
        ctx.gradients.add("matrix", d_product.T, before)
        ctx.gradients.zeros("bias", v.new_empty(len(matrix))).add_(d_product.sum(dim=0))
        del d_product, before, done  # the peak of a training step is here
        ctx.gradients.add("context", d_inputs.flatten(0, 1).T, context.flatten(0, 1))
        ctx.gradients.add("regions", (looked * openness).to(dtype).transpose(1, 2), d_seen)
        found = d_inputs, back_hidden, back_cell if cell_0.numel() else torch.zeros_like(cell_0)
        inputs, *state = (x.to(kind) for x, kind in zip(found, ctx.dtypes, strict=True))
        return (*[None] * 5, inputs, *[None] * 6, *state)
