"""The cells are the ones of the papers, and their written-out backward pass is the derivative of the forward pass."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor, nn

from src.models import attention
from src.models.cells import GATES, State
from src.models.memory import Gradients, Weights, remember
from src.models.recurrence import Trace, recur

CELLS = ["lstm", "gru"]


@pytest.mark.parametrize(("rnn", "published"), [("lstm", nn.LSTMCell), ("gru", nn.GRUCell)])
def test_a_step_is_pytorchs_cell_fed_with_word_and_gated_context(rnn, published):
    decoder = tiny.decoder(rnn)
    hidden, embedding = decoder.config.hidden_size, decoder.config.embedding_size
    gates = GATES[rnn] * hidden
    cell = published(embedding + hidden, hidden)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat([decoder.word_gates.weight, decoder.region_gates.weight], dim=1))
        cell.bias_ih.copy_(decoder.word_gates.bias)
        cell.weight_hh.copy_(decoder.recurrent.weight[:gates])
        cell.bias_hh.copy_(decoder.recurrent.bias[:gates])

        memory, before = decoder.begin(torch.from_numpy(tiny.grids(3)), 2)
        words = torch.tensor([[4, 5], [6, 7], [8, 9]])
        _, after, weights = decoder.next(words, memory, before)

        openness = decoder.recurrent(before.hidden)[..., -1:].sigmoid()
        context = openness * (weights @ memory.regions)
        entered = torch.cat([decoder.embedding(words), context], dim=-1).flatten(0, 1)
        past = before.hidden.flatten(0, 1)
        expected = cell(entered, (past, before.cell.flatten(0, 1))) if rnn == "lstm" else cell(entered, past)
    if rnn == "lstm":
        torch.testing.assert_close(after.cell.flatten(0, 1), expected[1])
        expected = expected[0]
    torch.testing.assert_close(after.hidden.flatten(0, 1), expected)


def test_attention_scores_are_bahdanaus_equation():
    torch.manual_seed(0)
    keys, queries, v = torch.randn(2, 6, 7), torch.randn(2, 3, 7), torch.randn(7)
    found = attention.scores(attention.exponentials(keys), attention.exponentials(queries), v)
    equation = (keys.unsqueeze(1) + queries.unsqueeze(2)).tanh() @ v
    torch.testing.assert_close(found.softmax(-1), equation.softmax(-1))


def test_attention_with_enormous_keys_still_sums_to_one():
    keys, queries = torch.full((1, 4, 2), 1e6), torch.full((1, 1, 2), 1e6)
    keys[0, 0] = -1e6
    found = attention.scores(attention.exponentials(keys), attention.exponentials(queries), torch.ones(2)).softmax(-1)
    assert float(found.sum()) == pytest.approx(1.0)
    assert torch.isfinite(found).all()


def tensors(rnn: str, images: int = 2, hidden: int = 3, units: int = 4, positions: int = 6) -> list[Tensor]:
    """Word gates, regions, keys, matrix, bias, v, context matrix, hidden, content; in double precision."""
    torch.manual_seed(1)
    gates = GATES[rnn] * hidden
    content = hidden if rnn == "lstm" else 0
    shapes = [
        (images, positions, gates),
        (images, 5, hidden),
        (images, 5, units),
        (gates + units + 1, hidden),
        (gates + units + 1,),
        (units,),
        (gates, hidden),
        (images, hidden),
        (images, content),
    ]
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]


def run(rnn: str, active: tuple[int, ...], *entered: Tensor) -> tuple[Tensor, ...]:
    words, regions, keys, *weights, hidden, content = entered
    start = State(*(values.unsqueeze(1).expand(-1, active[0], -1) for values in (hidden, content)))
    gradients = Gradients()
    memory = remember(regions, keys, Weights(*weights), torch.float64, gradients)
    found = recur(rnn, active, words, memory, start, gradients)
    return found.hidden, found.attention, found.context, *found.state


@pytest.mark.parametrize("rnn", CELLS)
@pytest.mark.parametrize("active", [(3, 2, 1), (2, 2, 2), (6,), (1,) * 6], ids=str)
def test_the_backward_pass_is_the_derivative_of_the_forward_pass(rnn, active):
    entered = tensors(rnn)
    assert torch.autograd.gradcheck(lambda *values: run(rnn, active, *values), entered, fast_mode=True)


@pytest.mark.parametrize("rnn", CELLS)
@pytest.mark.parametrize("again", [False, True], ids=["once", "computed twice"])
def test_steps_in_two_parts_are_the_steps_in_one(rnn, again):
    entered = tensors(rnn)
    words, regions, keys, *weights, hidden, content = entered
    whole = run(rnn, (3, 2, 1), *entered)
    gradients = Gradients()
    memory = remember(regions, keys, Weights(*weights), torch.float64, gradients)
    state = State(*(values.unsqueeze(1).expand(-1, 3, -1) for values in (hidden, content)))
    parts = []
    for active, here in (((3,), slice(0, 3)), ((2, 1), slice(3, 6))):
        starts = State(state.hidden[:, : active[0]], state.cell[:, : active[0]])
        given = rnn, active, words[:, here], memory, starts, gradients, Trace()
        parts.append(recur(*given))
        if again:
            parts[-1] = recur(*given)
        state = parts[-1].state
    packed = zip(*((one.hidden, one.attention, one.context) for one in parts), strict=True)
    found = [torch.cat(values, dim=1) for values in packed]
    torch.testing.assert_close(found, [*whole[:3]])

    def slopes(*values: Tensor) -> tuple[Tensor, ...]:
        loss = sum(value.square().sum() for value in values)
        return torch.autograd.grad(loss, entered, retain_graph=True)

    once = slopes(*whole[:3])
    torch.testing.assert_close(slopes(*found), once)
    torch.testing.assert_close(slopes(*found), once)  # sums begin again


@pytest.mark.parametrize("rnn", CELLS)
def test_a_gradient_that_is_one_number_for_all_is_accepted(rnn):
    entered = tensors(rnn)
    hidden = run(rnn, (3, 2, 1), *entered)[0]
    expanded = torch.autograd.grad(hidden.sum(), entered, retain_graph=True)
    written = torch.autograd.grad(hidden, entered, torch.ones_like(hidden))
    torch.testing.assert_close(expanded, written)


@pytest.mark.parametrize("rnn", CELLS)
def test_attention_in_small_pieces_is_the_same_attention(rnn, monkeypatch):
    entered = tensors(rnn, images=5)

    def outcome() -> tuple[Tensor, ...]:
        found = run(rnn, (3, 2, 1), *entered)
        return *found, *torch.autograd.grad(sum(value.square().sum() for value in found), entered)

    at_once = outcome()
    monkeypatch.setattr(attention, "IN_CACHE", 2 * 3 * 5 * 4)  # two of the five images at a time
    torch.testing.assert_close(outcome(), at_once)
