"""A step of `cells.py` on a processor: its matrix products, and in one pass each (`native.py`) what lies between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from src.models import cells, native
from src.models.cells import Cell, State, Step, Told
from src.models.fusion import F, Fuse, as_written
from src.models.memory import Memory


def quickest(function: F, memory: Memory, fuse: Fuse[F] = as_written) -> F:
    """A function of `cells.py` as it is run for such a memory: in C where it can be, else as `fuse` has it."""
    return cast(F, IN_C[function]) if native.serves(memory.keys, memory.regions.dtype) else fuse(function)


def attend(
    memory: Memory,
    hidden: Float[Tensor, "image caption hidden"],
    looked: Float[Tensor, "image caption region"] | None = None,
) -> Told:
    """As `cells.attend`."""
    regions, keys, weights = memory
    dtype, (images, captions, size), gates = regions.dtype, hidden.shape, len(weights.context)
    with torch.autocast("cpu", enabled=False):  # products are of the memory's type, whatever the words' is
        product = torch.addmm(weights.bias, hidden.to(dtype).reshape(-1, size), weights.matrix.T)
        product = product.view(images, captions, len(weights.bias))
        query, openness = keys.new_empty(images, captions, keys.shape[2]), keys.new_empty(images, captions, 1)
        attention = keys.new_empty(images, captions, keys.shape[1]) if looked is None else looked
        shares = regions.new_empty(attention.shape)
        asked, answered = (product[..., gates:], keys, weights.v), (attention, query, openness, shares)
        native.call("attend", dtype, asked, answered, images, captions, *keys.shape[1:], looked is not None)
        context = torch.bmm(shares, regions)
        seen = (context.flatten(0, 1) @ weights.context.T).view(images, captions, gates)
        return Told(attention, openness, query, context, seen, product)


def advance(cell: Cell, word_gates: Float[Tensor, "image caption gate"], told: Told, state: State) -> Step:
    """As `cells.advance`."""
    dtype, (images, captions, hidden) = told.product.dtype, state.hidden.shape
    opened = told.query.new_empty(4, images, captions, hidden).unbind()
    content = torch.empty_like(opened[0]) if cell == "lstm" else state.cell
    new = told.product.new_empty(images, captions, hidden)
    brought = word_gates.to(dtype), told.seen, told.product
    if cell == "lstm":
        native.call(cell, dtype, (*brought, state.cell), (*opened, content, new), images, captions, hidden)
    else:
        native.call(cell, dtype, (*brought, state.hidden.to(dtype)), (*opened, new), images, captions, hidden)
    return Step(State(new, content), opened, told.attention, told.openness, told.query, told.context)


def step(cell: Cell, word_gates: Float[Tensor, "image caption gate"], memory: Memory, state: State) -> Step:
    """As `cells.step`."""
    return advance(cell, word_gates, attend(memory, state.hidden), state)


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
    """As `cells.step_back`."""
    regions, keys, weights = memory
    dtype, (images, captions, hidden), gates = regions.dtype, d_state.hidden.shape, len(weights.context)
    d_in, carried = regions.new_empty(images, captions, gates), keys.new_empty(d_state.hidden.shape)
    if cell == "lstm":
        given = before.cell, done.state.cell, *done.gates, *d_state
    else:
        given = before.hidden, *done.gates, d_state.hidden
    native.call(f"{cell}_back", dtype, given, (d_inputs, d_in, d_product, carried), images, captions, hidden)
    torch.add(d_context, (d_in.flatten(0, 1) @ weights.context).view(d_context.shape), out=d_seen)
    d_shares = torch.bmm(d_seen, regions.transpose(1, 2))
    asked = keys, weights.v, done.query, done.attention, done.openness, d_shares, d_looked
    told = key_gradient, v_gradient, d_product[..., gates:]
    native.call("attend_back", dtype, asked, told, images, captions, *keys.shape[1:])
    back = (d_product.flatten(0, 1) @ weights.matrix).view(d_context.shape).to(carried.dtype)
    return State(back, carried) if cell == "lstm" else State(back.add_(carried), d_state.cell)


IN_C: dict[Callable[..., Any], Callable[..., Any]] = {
    cells.attend: attend, cells.advance: advance, cells.step: step, cells.step_back: step_back
}  # fmt: skip
