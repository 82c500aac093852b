"""Captions drawn at random are drawn from the decoder's own distribution."""

from __future__ import annotations

import pytest
import tiny
import torch

from src.data.vocabulary import END, PAD, START, UNK
from src.decoding.sampling import Samples, sample
from src.decoding.search import forbid
from src.models.decoder import Decoder


def drawn(decoder: Decoder, seed: int = 0, samples: int = 4, max_words: int = 6, temperature: float = 1.0) -> Samples:
    grids = torch.from_numpy(tiny.grids(3))
    return sample(decoder, grids, samples, max_words, temperature, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_log_probabilities_are_those_of_teaching_the_same_words(rnn, temperature):
    decoder = tiny.decoder(rnn)
    found = drawn(decoder, temperature=temperature)
    grids = torch.from_numpy(tiny.grids(3))
    images, samples, words = found.ids.shape
    inputs = torch.cat([torch.full((images, samples, 1), START), found.ids[:, :, :-1]], dim=2)
    with torch.no_grad():
        packed = inputs.transpose(1, 2).flatten(1)
        taught = decoder(grids, packed, (samples,) * words, torch.arange(packed.numel()))
        logits = decoder.vocab(taught.features).view(images, words, samples, -1).transpose(1, 2)
        likely = (forbid(logits) / temperature).log_softmax(-1)
    said = found.ids != PAD
    expected = likely.gather(-1, found.ids.unsqueeze(-1)).squeeze(-1)[said]
    torch.testing.assert_close(found.log_probabilities[said], expected, rtol=1e-4, atol=1e-4)


def test_the_same_seed_draws_the_same_captions():
    decoder = tiny.decoder()
    assert torch.equal(drawn(decoder, seed=1).ids, drawn(decoder, seed=1).ids)
    assert not torch.equal(drawn(decoder, seed=1).ids, drawn(decoder, seed=2).ids)


def test_captions_of_an_image_differ():
    found = drawn(tiny.decoder(), samples=20)
    assert all(len({tuple(caption) for caption in image.tolist()}) > 5 for image in found.ids)


def test_nothing_follows_the_end():
    found = drawn(tiny.decoder(), samples=50)
    ended = (found.ids == END).cumsum(dim=2) - (found.ids == END).long() > 0
    assert ended.any()
    assert (found.ids[ended] == PAD).all() and (found.log_probabilities[ended] == 0).all()
    assert (found.ids[~ended] != PAD).all() and (found.log_probabilities[~ended] < 0).all()


def test_words_that_are_no_words_are_never_drawn():
    decoder = tiny.decoder()
    with torch.no_grad():
        decoder.vocab.bias[[PAD, START, UNK]] = 30.0
    found = drawn(decoder, samples=30)
    said = found.ids[found.log_probabilities != 0]
    assert not set(said.tolist()) & {PAD, START, UNK}


def test_words_are_drawn_as_often_as_they_are_likely():
    decoder = tiny.decoder()
    grids = torch.from_numpy(tiny.grids(1))
    found = sample(decoder, grids, 4000, 1, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        likely = forbid(decoder.next(torch.tensor([[START]]), *decoder.begin(grids))[0]).softmax(-1)[0, 0]
    often = torch.bincount(found.ids.flatten(), minlength=14) / 4000
    torch.testing.assert_close(often, likely, rtol=0, atol=0.03)


def test_a_low_temperature_says_the_likeliest_word():
    found = drawn(tiny.decoder(), samples=10, temperature=1e-4)
    assert all(len({tuple(caption) for caption in image.tolist()}) == 1 for image in found.ids)
