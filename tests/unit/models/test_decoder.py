"""What the decoder promises: to learn and to search are one computation, and regions are seen where they are."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.vocabulary import END, PAD, START
from src.models.decoder import Dropout
from src.training.batches import CaptionedImages

CELLS = ["lstm", "gru"]


@pytest.mark.parametrize(("rnn", "tied"), [("lstm", False), ("gru", False), ("gru", True)])
@given(seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_teaching_packed_captions_is_stepping_through_each_alone(rnn, tied, seed):
    decoder = tiny.decoder(rnn, seed, tied=tied)
    described = tiny.manifest(train=4, val=0, seed=seed)
    split = CaptionedImages(described.images, range(4), tiny.vocabulary(), 20)
    batch = split.pack(np.arange(4))
    grids = torch.from_numpy(tiny.grids(4, seed))
    with torch.no_grad():
        everywhere = torch.arange(batch.inputs.numel())
        taught = decoder(grids, batch.inputs, batch.active, everywhere)
        likely = decoder.vocab(decoder.features(taught.outputs)).view(*batch.inputs.shape, -1).log_softmax(-1)
        for image in range(4):
            for slot, words in enumerate(split.captions[image]):
                memory, state = decoder.begin(grids[[image]])
                own = (batch.slot == slot) & (batch.targets[image] != PAD)
                assert batch.targets[image, own].tolist() == [*words, END]
                for position, word in zip(own.nonzero()[:, 0].tolist(), [START, *words], strict=True):
                    alone, state, looked = decoder.next(torch.tensor([[word]]), memory, state)
                    torch.testing.assert_close(alone[0, 0], likely[image, position], rtol=1e-4, atol=1e-4)
                    torch.testing.assert_close(looked[0, 0], taught.attention[image, position], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rnn", CELLS)
def test_each_words_attention_sums_to_one(rnn):
    decoder = tiny.decoder(rnn)
    grids = torch.from_numpy(tiny.grids(5)) * 30
    inputs = torch.randint(4, 14, (5, 6))
    attention = decoder(grids, inputs, (3, 2, 1), torch.arange(30)).attention
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(5, 6))
    assert (attention >= 0).all()


@pytest.mark.parametrize("rnn", CELLS)
def test_where_a_region_lies_matters(rnn):
    decoder = tiny.decoder(rnn)
    grids = torch.from_numpy(tiny.grids(1)).float()
    mirrored = grids.view(1, tiny.ROWS, tiny.COLUMNS, -1).flip(2).flatten(1, 2)

    def said(grids: torch.Tensor) -> torch.Tensor:
        memory, state = decoder.begin(grids)
        return decoder.next(torch.tensor([[START]]), memory, state)[0]

    with torch.no_grad():
        assert not torch.allclose(said(grids), said(mirrored), atol=1e-3)
        decoder.row.zero_()
        decoder.column.zero_()
        torch.testing.assert_close(said(grids), said(mirrored))  # nothing but the learnt positions told them apart


def test_a_region_is_attended_to_at_its_own_place():
    decoder = tiny.decoder()
    grids = torch.from_numpy(tiny.grids(1)).float()
    with torch.no_grad():
        decoder.row.zero_()
        decoder.column.zero_()
        order = torch.tensor([3, 1, 5, 0, 2, 4])
        looked = [decoder.next(torch.tensor([[START]]), *decoder.begin(look))[2] for look in (grids, grids[:, order])]
    torch.testing.assert_close(looked[1], looked[0][..., order])


@pytest.mark.parametrize("rnn", CELLS)
def test_images_of_a_batch_know_nothing_of_one_another(rnn):
    decoder = tiny.decoder(rnn)
    grids = torch.from_numpy(tiny.grids(3)).float()
    words = torch.full((3, 2), START)
    with torch.no_grad():
        together = decoder.next(words, *decoder.begin(grids, 2))[0]
        alone = torch.cat([decoder.next(words[:1], *decoder.begin(grids[[row]], 2))[0] for row in range(3)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("rnn", CELLS)
def test_log_probabilities_are_those_of_all_words(rnn):
    decoder = tiny.decoder(rnn)
    with torch.no_grad():
        found = decoder.next(torch.full((2, 3), START), *decoder.begin(torch.from_numpy(tiny.grids(2)), 3))[0]
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 3))


@pytest.mark.parametrize(("rnn", "tied"), [("lstm", False), ("gru", False), ("gru", True)])
def test_every_parameter_has_a_gradient(rnn, tied):
    decoder = tiny.decoder(rnn, tied=tied).train()
    taught = decoder(torch.from_numpy(tiny.grids(2)), torch.randint(4, 14, (2, 6)), (3, 2, 1), torch.arange(12))
    (decoder.vocab(decoder.features(taught.outputs)).square().sum() + taught.attention.square().sum()).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("rnn", CELLS)
def test_a_caption_has_no_say_in_the_words_before_its_own(rnn):
    decoder = tiny.decoder(rnn)
    grids, inputs = torch.from_numpy(tiny.grids(1)), torch.tensor([[START, 4, 5, 6, 7]])
    changed = inputs.clone()
    changed[0, 3] = 9
    with torch.no_grad():
        first, second = (decoder(grids, words, (1,) * 5, torch.arange(5)).outputs for words in (inputs, changed))
    assert torch.equal(first[:3], second[:3])
    assert not torch.allclose(first[3:], second[3:])


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.75])
def test_dropout_keeps_the_mean_and_drops_its_share(rate):
    torch.manual_seed(0)
    dropout = Dropout(rate).train()
    dropped = dropout(torch.ones(400, 501))
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_dropouts_gradient_is_what_it_multiplied_by(kind):
    values = (torch.rand(7, 3, 33) + 1).to(kind).requires_grad_()
    dropped = Dropout(0.5).train()(values)
    (gradient,) = torch.autograd.grad(dropped, values, torch.ones_like(dropped))
    assert set(gradient.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, values * gradient)


def test_dropout_is_off_when_nothing_is_learnt():
    values = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(values), values)


def test_dropout_draws_from_the_seed():
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.5).train()(torch.ones(33))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_tied_words_are_told_by_the_matrix_that_embeds_them():
    decoder = copy.deepcopy(tiny.decoder(tied=True))
    features = torch.randn(3, 5)
    with torch.no_grad():
        decoder.embedding.weight[6] = 2 * features[0]
        told = decoder.vocab(features) - decoder.vocab.bias
    torch.testing.assert_close(told, features @ decoder.embedding.weight.T)
    assert "vocab.weight" not in decoder.state_dict()
    assert sum(p.numel() for p in decoder.parameters()) < sum(p.numel() for p in tiny.decoder().parameters())
