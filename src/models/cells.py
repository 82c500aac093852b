"""One step of the recurrent decoder and its backward pass, in PyTorch's operations."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from src.models import attention
from src.models.memory import Memory

Cell = Literal["lstm", "gru"]
GATES = {"lstm": 4, "gru": 3}


class State(NamedTuple):
    """What a decoder remembers of a caption. A GRU has no cell; its `cell` is empty (size 0)."""

    hidden: Float[Tensor, "image caption hidden"]
    cell: Float[Tensor, "image caption cell"]


class Told(NamedTuple):
    """What images and hidden states bring to a step.

    Attributes:
        attention: sums to 1 over the regions.
        openness: of the context gate, 0 to 1.
        query: its exponential.
        context: what was seen: regions by attention times openness.
        seen: what that brings to the gates.
        product: of the hidden state: what it brings to the gates, the attention's query, the openness.
    """

    attention: Float[Tensor, "image caption region"]
    openness: Float[Tensor, "image caption 1"]
    query: Float[Tensor, "image caption attention"]
    context: Float[Tensor, "image caption hidden"]
    seen: Float[Tensor, "image caption gate"]
    product: Float[Tensor, "image caption product"]


class Step(NamedTuple):
    """One step's outcome, and what its backward pass needs, of `Told` too.

    Attributes:
        gates: after their non-linearities: LSTM input, forget, candidate, output; GRU reset, update, candidate, and the
            candidate's share of the hidden state as it is before the reset gate.
    """

    state: State
    gates: tuple[Float[Tensor, "image caption hidden"], ...]
    attention: Float[Tensor, "image caption region"]
    openness: Float[Tensor, "image caption 1"]
    query: Float[Tensor, "image caption attention"]
    context: Float[Tensor, "image caption hidden"]


def attend(
    memory: Memory,
    hidden: Float[Tensor, "image caption hidden"],
    looked: Float[Tensor, "image caption region"] | None = None,
) -> Told:
    """What images and hidden states bring to a step.

    Args:
        looked: the attention, if this was computed before.
    """
    weights = memory.weights
    gate_size = len(weights.context)
    # Flat, because a product with a slice of captions would be done image by image, each with a copy of the matrix.
    product = torch.addmm(weights.bias, hidden.reshape(-1, hidden.shape[-1]), weights.matrix.T)
    product = product.view(*hidden.shape[:2], product.shape[-1])
    wide = weights.v.dtype
    query = attention.exponentials(product[..., gate_size:-1])
    if looked is None:
        looked = attention.scores(memory.keys, query, weights.v).softmax(dim=-1)
    openness = product[..., -1:].to(wide).sigmoid()
    context = torch.bmm((looked * openness).to(memory.regions.dtype), memory.regions)
    seen = (context.flatten(0, 1) @ weights.context.T).view(*hidden.shape[:2], gate_size)
    return Told(looked, openness, query, context, seen, product)


def advance(cell: Cell, word_gates: Float[Tensor, "image caption gate"], told: Told, state: State) -> Step:
    """What a step makes of a word, of what it is told and of the state before."""
    hidden, wide = state.hidden.shape[-1], told.openness.dtype
    # Gate by gate, so that nothing is as wide as all of them but what the products give.
    by_word, by_context, by_state = (
        torch.split(gates, hidden, dim=-1)
        for gates in (word_gates, told.seen, told.product[..., : GATES[cell] * hidden])
    )

    def added(gate: int) -> Tensor:
        words: Tensor = by_word[gate].to(wide)
        return words + by_context[gate]

    if cell == "lstm":
        enter, forget, candidate, leave = (added(gate).add_(by_state[gate]) for gate in range(4))
        gates = enter.sigmoid_(), forget.sigmoid_(), _tanh(candidate), leave.sigmoid_()
        content = gates[1] * state.cell + gates[0] * gates[2]
        following = State((gates[3] * _tanh(content)).to(state.hidden.dtype), content)
        return Step(following, gates, told.attention, told.openness, told.query, told.context)
    reset, update = (added(gate).add_(by_state[gate]).sigmoid_() for gate in range(2))
    recurrent = by_state[2].to(wide, copy=True)  # kept without the rest of the product
    candidate = _tanh(torch.addcmul(added(2), reset, recurrent))
    new = torch.lerp(candidate, state.hidden.to(wide), update)
    following = State(new.to(state.hidden.dtype), state.cell)
    return Step(
        following, (reset, update, candidate, recurrent), told.attention, told.openness, told.query, told.context
    )


def step(cell: Cell, word_gates: Float[Tensor, "image caption gate"], memory: Memory, state: State) -> Step:
    """One word on. Matrix products are done in the precision of the weights, the rest in single precision at least."""
    return advance(cell, word_gates, attend(memory, state.hidden), state)


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
