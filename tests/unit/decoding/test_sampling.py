"""Captions drawn at random are drawn from the decoder's own distribution."""

from __future__ import annotations

import pytest
import tiny
import torch
from jaxtyping import Int
from torch import Tensor

from src.data.vocabulary import END, PAD, START, UNK
from src.decoding.sampling import sample
from src.decoding.search import Speaker, forbid
from src.models.ensemble import Ensemble


def drawn(decoder: Speaker, seed: int = 0, samples: int = 4, max_words: int = 6) -> Int[Tensor, "image sample word"]:
    return sample(decoder, torch.from_numpy(tiny.grids(3)), samples, max_words, torch.Generator().manual_seed(seed))


def test_the_same_seed_draws_the_same_captions():
    decoder = tiny.decoder()
    assert torch.equal(drawn(decoder, seed=1), drawn(decoder, seed=1))
    assert not torch.equal(drawn(decoder, seed=1), drawn(decoder, seed=2))


def test_captions_of_an_image_differ():
    found = drawn(tiny.decoder(), samples=20)
    assert all(len({tuple(caption) for caption in image.tolist()}) > 5 for image in found)


def test_nothing_follows_the_end():
    found = drawn(tiny.decoder(), samples=50)
    ended = (found == END).cumsum(dim=2) - (found == END).long() > 0
    assert ended.any()
    assert (found[ended] == PAD).all() and (found[~ended] != PAD).all()


def test_words_that_are_no_words_are_never_drawn():
    decoder = tiny.decoder()
    with torch.no_grad():
        decoder.vocab.bias[[PAD, START, UNK]] = 30.0
    for caption in drawn(decoder, samples=30).flatten(0, 1).tolist():
        said = caption[: caption.index(END)] if END in caption else caption
        assert not set(said) & {PAD, START, UNK}


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
@pytest.mark.parametrize("members", [1, 2])
@torch.no_grad()
def test_words_are_drawn_as_often_as_they_are_likely_after_those_before(rnn, members):
    """By one decoder, or by several that tell every word together."""
    decoders = [tiny.decoder(rnn, seed=seed) for seed in range(members)]
    decoder = decoders[0] if members == 1 else Ensemble(decoders)
    grids = torch.from_numpy(tiny.grids(1))
    found = sample(decoder, grids, 50_000, 2, torch.Generator().manual_seed(0))[0]
    memory, state = decoder.begin(grids)
    entered = START
    for position in range(2):
        assert len(found) > 1000
        scores, state, _ = decoder.next(torch.tensor([[entered]]), memory, state)
        likely = forbid(scores).softmax(-1)[0, 0]
        often = torch.bincount(found[:, position], minlength=len(likely)) / len(found)
        torch.testing.assert_close(often, likely, rtol=0, atol=0.03)
        entered = int(likely[END + 1 :].argmax()) + END + 1
        found = found[found[:, position] == entered]
