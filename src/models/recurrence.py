"""One step of the recurrent decoder, and the backward pass through a whole caption.

`step` is the only place where a cell and its attention are computed; searches call it word by word, `recur` calls it
for teacher forcing. A context vector only ever enters the gates through a matrix, and that product is a weighted sum of
per-region products. Which of the two costs less depends on how many words are to come: teacher forcing projects the
regions onto the gates once per image, so that a step costs one matrix product with the hidden state, one attention and
one weighted sum; a search, whose image has fewer words than regions, projects each word's context.

The backward pass is written out (Werbos 1990): gradients of weights and of image-side tensors come from one matrix
product over all steps instead of one each, and nothing of the size image x caption x region x attention is kept. Steps
that are run in several parts add up what they pass on to the same images and weights in place (`Gradients`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from src.models import attention
from src.models.fusion import Fuse, as_written

Cell = Literal["lstm", "gru"]
GATES = {"lstm": 4, "gru": 3}
KEPT = 6
"""Tensors of a step that its backward pass needs and that no other step shares."""


class Weights(NamedTuple):
    """What every step multiplies with.

    Attributes:
        matrix, bias: hidden state -> gates, attention query, openness of the context gate.
        v: how attention units add up to a score; single precision at least.
        context: context -> gates; none where the regions are projected onto them.
    """

    matrix: Float[Tensor, "product hidden"]
    bias: Float[Tensor, " product"]
    v: Float[Tensor, " attention"]
    context: Float[Tensor, "gate hidden"] | None = None


class Memory(NamedTuple):
    """What a step needs to know of its images, computed once per image.

    Attributes:
        regions: the regions themselves, for the words' output layer.
        keys: `attention.exponentials` of their keys.
        values: what attention sums up: their projection onto the gates, or themselves if there is a `weights.context`.
    """

    regions: Float[Tensor, "image region hidden"]
    keys: Float[Tensor, "image region attention"]
    values: Float[Tensor, "image region value"]
    weights: Weights


class Gradients:
    """What the steps on one memory pass on to it, added up in place.

    Autograd would hold a gradient of its own for every part of the steps beside their sum, and the largest of them is
    the largest tensor of a training step.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def zeros(self, name: str, like: Tensor) -> Tensor:
        """The sum so far, to be added to."""
        if name not in self._sums:
            self._sums[name] = torch.zeros_like(like)
        return self._sums[name]

    def add(self, name: str, left: Tensor, right: Tensor) -> None:
        """Add a product of two matrices, or of two batches of them."""
        if name not in self._sums:
            self._sums[name] = left @ right
        elif left.dim() == 2:
            self._sums[name].addmm_(left, right)
        else:
            self._sums[name].baddbmm_(left, right)

    def take(self, name: str) -> Tensor | None:
        """The sum, which begins again; nothing if nothing was added."""
        return self._sums.pop(name, None)


def remember(
    regions: Float[Tensor, "image region hidden"],
    keys: Float[Tensor, "image region attention"],
    weights: Weights,
    dtype: torch.dtype,
) -> Memory:
    """What the steps of a search need to know, in the precisions that they compute in. Only the regions are
    differentiable.

    Args:
        keys: of the regions, not yet their exponentials.
        weights: with that of the context.
        dtype: of the matrix products.
    """
    keys, matrix, bias, v = _known(dtype, keys, weights.matrix, weights.bias, weights.v)
    assert weights.context is not None
    return Memory(regions, keys, regions, Weights(matrix, bias, v, weights.context.to(dtype)))


def remember_to_teach(
    regions: Float[Tensor, "image region hidden"],
    keys: Float[Tensor, "image region attention"],
    gates: Float[Tensor, "image region gate"],
    weights: Weights,
    dtype: torch.dtype,
    gradients: Gradients,
) -> Memory:
    """What the steps of teacher forcing need to know; arguments as those of `remember`.

    Args:
        weights: without that of the context.
        gradients: where `recur` leaves those of this memory.
    """
    keys, gates, *converted = _Remembered.apply(gradients, dtype, keys, gates, weights.matrix, weights.bias, weights.v)
    return Memory(regions, keys, gates, Weights(*converted))


def _known(dtype: torch.dtype, keys: Tensor, matrix: Tensor, bias: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    wide = torch.promote_types(dtype, torch.float32)
    return attention.exponentials(keys), matrix.to(dtype), bias.to(dtype), v.to(wide)


class _Remembered(torch.autograd.Function):
    """Passes the sums on when all steps have added to them; autograd itself brings nothing."""

    @staticmethod
    def forward(
        ctx: Any, gradients: Gradients, dtype: torch.dtype, keys: Tensor, gates: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.dtypes = [x.dtype for x in (keys, gates, *weights)]
        keys, matrix, bias, v = _known(dtype, keys, *weights)
        ctx.set_materialize_grads(False)
        ctx.gradients = gradients
        ctx.save_for_backward(v)
        return keys, gates.to(dtype), matrix, bias, v

    @staticmethod
    def backward(ctx: Any, *_: None) -> tuple[Tensor | None, ...]:
        keys, *others, v = (ctx.gradients.take(name) for name in ("keys", "gates", "matrix", "bias", "v"))
        if keys is not None:
            keys.mul_(4 * ctx.saved_tensors[0])
        found = keys, *others, None if v is None else v.sum(dim=0)
        return (None, None, *(None if x is None else x.to(kind) for x, kind in zip(found, ctx.dtypes, strict=True)))


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
        context: what was seen, unless the regions are projected onto the gates.
    """

    state: State
    attention: Float[Tensor, "image caption region"]
    openness: Float[Tensor, "image caption 1"]
    query: Float[Tensor, "image caption attention"]
    gates: tuple[Float[Tensor, "image caption hidden"], ...]
    context: Float[Tensor, "image caption hidden"] | None = None


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
    seen, context = torch.bmm((looked * openness).to(memory.values.dtype), memory.values), None
    if weights.context is not None:
        seen, context = functional.linear(seen, weights.context), seen
    recurrent = product[..., :gate_size].to(wide)
    inputs = torch.split(word_gates.to(wide) + seen, hidden, dim=-1)
    added = torch.split(recurrent, hidden, dim=-1)
    if cell == "lstm":
        enter, forget, candidate, leave = (entered + more for entered, more in zip(inputs, added, strict=True))
        gates = enter.sigmoid(), forget.sigmoid(), _tanh(candidate), leave.sigmoid()
        content = gates[1] * state.cell + gates[0] * gates[2]
        following = State((gates[3] * _tanh(content)).to(state.hidden.dtype), content)
        return Step(following, looked, openness, query, gates, context)
    reset, update = (inputs[0] + added[0]).sigmoid(), (inputs[1] + added[1]).sigmoid()
    candidate = _tanh(torch.addcmul(inputs[2], reset, added[2]))
    new = torch.lerp(candidate, state.hidden.to(wide), update)
    following = State(new.to(state.hidden.dtype), state.cell)
    return Step(following, looked, openness, query, (reset, update, candidate, added[2]), context)


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
    d_weighed: Float[Tensor, "image caption region"],
    key_gradient: Float[Tensor, "image region attention"],
    v_gradient: Float[Tensor, "image attention"],
    d_inputs: Float[Tensor, "image caption gate"],
    d_product: Float[Tensor, "image caption product"],
) -> State:
    """The backward pass of `step`. Returns the gradient of the state before.

    Args:
        before: the state that `done` was computed from.
        d_state, d_looked, d_weighed: gradients of the new state, of the attention, and of attention times openness.
        key_gradient, v_gradient: this step's share is added to them (see `attention.add_gradients`).
        d_inputs, d_product: where the gradients of the words' share of the gates, and of the product with the hidden
            state, are written.
    """
    matrix, v = memory.weights.matrix, memory.weights.v
    wide = v.dtype
    d_h = d_state.hidden
    if cell == "lstm":
        enter, forget, proposal, leave = done.gates
        squashed = _tanh(done.state.cell)
        d_c = d_state.cell + d_h * leave * (1 - squashed * squashed)
        d_in = torch.cat(
            [
                d_c * proposal * enter * (1 - enter),
                d_c * before.cell * forget * (1 - forget),
                d_c * enter * (1 - proposal * proposal),
                d_h * squashed * leave * (1 - leave),
            ],
            dim=-1,
        )
        d_recurrent = d_in
        back_cell = d_c * forget
    else:
        reset, update, proposal, by_state = done.gates
        d_proposal = d_h * (1 - update) * (1 - proposal * proposal)
        d_update = d_h * (before.hidden.to(wide) - proposal) * update * (1 - update)
        d_reset = d_proposal * by_state * reset * (1 - reset)
        d_in = torch.cat([d_reset, d_update, d_proposal], dim=-1)
        d_recurrent = torch.cat([d_reset, d_update, d_proposal * reset], dim=-1)
        back_cell = d_state.cell
    d_inputs.copy_(d_in)
    looked, opened = done.attention, done.openness
    d_w = torch.bmm(d_inputs, memory.values.transpose(1, 2)).to(wide) + d_weighed
    d_open = (d_w * looked).sum(dim=-1, keepdim=True)
    d_look = d_w * opened + d_looked
    d_score = looked * (d_look - (looked * d_look).sum(dim=-1, keepdim=True))
    d_query = attention.add_gradients(memory.keys, done.query, v, d_score, key_gradient, v_gradient)
    torch.cat([d_recurrent, d_query * (4 * v), d_open * opened * (1 - opened)], dim=-1, out=d_product)
    back_hidden = (d_product.flatten(0, 1) @ matrix).view(d_h.shape).to(wide)
    if cell == "gru":
        back_hidden = back_hidden + d_h * update
    return State(back_hidden, back_cell)


class Recurred(NamedTuple):
    """All steps of a teacher-forced pass, packed as the inputs were.

    Attributes:
        weighed: attention times openness: how much of each region a context holds.
        state: behind the last step, of the captions active in it.
    """

    hidden: Float[Tensor, "image position hidden"]
    attention: Float[Tensor, "image position region"]
    weighed: Float[Tensor, "image position region"]
    state: State


def recur(
    cell: Cell,
    active: Sequence[int],
    word_gates: Float[Tensor, "image position gate"],
    memory: Memory,
    state: State,
    gradients: Gradients,
    looked: Float[Tensor, "image position region"] | None = None,
    fuse: Fuse[Any] = as_written,
) -> Recurred:
    """Run packed captions through the cell from `state`; differentiable in every tensor.

    Args:
        active: captions per image in each step, never growing; `word_gates` holds the steps one behind the other.
        gradients: those that `memory` was made with.
        looked: the attention, if these steps were computed before.
        fuse: how a step and its backward pass are run.
    """
    weights = memory.weights
    known = memory.keys, memory.values, weights.matrix, weights.bias, weights.v
    hidden, attended, weighed, content = _Recurrence.apply(
        cell, tuple(active), gradients, looked, fuse, word_gates, *known, *state
    )
    return Recurred(hidden, attended, weighed, State(hidden[:, hidden.shape[1] - active[-1] :].clone(), content))


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: Cell,
        active: tuple[int, ...],
        gradients: Gradients,
        attended: Tensor | None,
        fuse: Fuse[Any],
        word_gates: Tensor,
        keys: Tensor,
        region_gates: Tensor,
        matrix: Tensor,
        bias: Tensor,
        v: Tensor,
        hidden: Tensor,
        content: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with torch.autocast(keys.device.type, enabled=False):
            # Kernels are compiled anew for a tensor that differs in whether it asks for a gradient.
            word_gates, keys, region_gates, matrix, bias, v, hidden, content = (
                x.detach() for x in (word_gates, keys, region_gates, matrix, bias, v, hidden, content)
            )
            memory = Memory(keys, keys, region_gates, Weights(matrix, bias, v))  # the regions are not asked for
            # A kernel is compiled for each layout of its tensors: states are always contiguous.
            first = state = State(hidden.to(matrix.dtype).contiguous(), content.to(v.dtype).contiguous())
            steps: list[Step] = []
            run = fuse(step)
            known = [None] * len(active) if attended is None else torch.split(attended, list(active), dim=1)
            for count, inputs, there in zip(active, torch.split(word_gates, list(active), dim=1), known, strict=True):
                going_on = State(state.hidden[:, :count].contiguous(), state.cell[:, :count].contiguous())
                steps.append(run(cell, inputs, memory, going_on, there))
                state = steps[-1].state
            all_hidden = torch.cat([one.state.hidden for one in steps], dim=1)
            looked = torch.cat([one.attention for one in steps], dim=1)
            openness = torch.cat([one.openness for one in steps], dim=1)
            weighed = looked * openness
            ctx.cell, ctx.active, ctx.gradients, ctx.fuse = cell, active, gradients, fuse
            ctx.dtypes = [x.dtype for x in (word_gates, hidden, content)]
            ctx.save_for_backward(
                keys,
                region_gates,
                matrix,
                v,
                first.hidden,
                first.cell,
                all_hidden,
                looked,
                openness,
                *(kept for one in steps for kept in (one.state.cell, one.query, *one.gates)),
            )
        return all_hidden, looked, weighed, state.cell.clone()

    @staticmethod
    def backward(
        ctx: Any, d_hidden: Tensor, d_looked: Tensor, d_weighed: Tensor, d_content: Tensor
    ) -> tuple[Tensor | None, ...]:
        saved = (x.detach() for x in ctx.saved_tensors)
        keys, region_gates, matrix, v, hidden_0, cell_0, hidden, looked, openness, *kept = saved
        memory = Memory(keys, keys, region_gates, Weights(matrix, v, v))  # neither regions nor bias are asked for
        run, size = ctx.fuse(step_back), hidden.shape[-1]
        dtype, wide = matrix.dtype, v.dtype
        weighed = looked * openness
        d_inputs = hidden.new_empty(*hidden.shape[:2], region_gates.shape[-1])
        # Step by step, so that each step's share is one matrix; over all steps the order does not matter.
        images, positions = hidden.shape[:2]
        d_product = hidden.new_empty(images * positions, matrix.shape[0])
        before = hidden.new_empty(images * positions, size)
        d_keys, d_v = ctx.gradients.zeros("keys", keys), ctx.gradients.zeros("v", keys[:, 0])
        back_hidden = hidden_0.new_zeros(hidden_0.shape[0], 0, size, dtype=wide)
        back_cell = d_content.to(wide)
        ends = list(torch.tensor(ctx.active).cumsum(0).tolist())
        for time in reversed(range(len(ctx.active))):
            count = ctx.active[time]
            here = slice(ends[time] - count, ends[time])
            rows = slice(images * here.start, images * here.stop)
            former_hidden = before[rows].view(images, count, size)
            last = here.start - ctx.active[time - 1]
            former_hidden.copy_(hidden[:, last : last + count] if time else hidden_0)
            former_cell = kept[KEPT * (time - 1)][:, :count].contiguous() if time else cell_0
            content, query, *gates = kept[KEPT * time : KEPT * (time + 1)]
            done = Step(State(hidden[:, here], content), looked[:, here], openness[:, here], query, tuple(gates))
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
                d_weighed[:, here],
                d_keys,
                d_v,
                d_inputs[:, here],
                d_product[rows].view(images, count, len(matrix)),
            )
        ctx.gradients.add("matrix", d_product.T, before)
        ctx.gradients.zeros("bias", v.new_empty(len(matrix))).add_(d_product.sum(dim=0))
        del d_product, before, done  # the peak of a training step is here
        ctx.gradients.add("gates", weighed.to(dtype).transpose(1, 2), d_inputs)
        found = d_inputs, back_hidden, back_cell if cell_0.numel() else torch.zeros_like(cell_0)
        inputs, *state = (x.to(kind) for x, kind in zip(found, ctx.dtypes, strict=True))
        return (*[None] * 5, inputs, *[None] * 5, *state)
