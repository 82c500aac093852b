"""Several decoders as one: the mean of their probabilities, each with its own memory of the caption."""

from __future__ import annotations

import pytest
import tiny
import torch

from src.data.vocabulary import END, START
from src.decoding.search import beam_search, greedy
from src.models.ensemble import Ensemble, together


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
def test_every_word_is_told_by_the_mean_of_the_probabilities(rnn):
    decoders = [tiny.decoder(rnn, seed) for seed in range(3)]
    grids, words = torch.from_numpy(tiny.grids(2)), torch.tensor([[START, START], [5, 6]])
    alone = [decoder.begin(grids, 2) for decoder in decoders]
    ensemble = Ensemble(decoders)
    memory, state = ensemble.begin(grids, 2)
    with torch.no_grad():
        for entered in (torch.full((2, 2), START), words):
            told = [decoder.next(entered, *own) for decoder, own in zip(decoders, alone, strict=True)]
            scores, state, attention = ensemble.next(entered, memory, state)
            torch.testing.assert_close(scores.exp(), torch.stack([own[0].exp() for own in told]).mean(dim=0))
            torch.testing.assert_close(attention, torch.stack([own[2] for own in told]).mean(dim=0))
            alone = [(own[0], after[1]) for own, after in zip(alone, told, strict=True)]


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
def test_of_one_mind_they_say_what_each_says_alone(rnn):
    decoder = tiny.decoder(rnn)
    ensemble, grids = Ensemble([decoder, decoder]), torch.from_numpy(tiny.grids(3))
    for found, alone in (
        ([[said] for said in greedy(ensemble, grids, 6)], [[said] for said in greedy(decoder, grids, 6)]),
        (beam_search(ensemble, grids, 3, 6, 0.7), beam_search(decoder, grids, 3, 6, 0.7)),
    ):
        for ours, theirs in zip(found, alone, strict=True):
            assert [said.ids for said in ours] == [said.ids for said in theirs]
            assert [said.score for said in ours] == pytest.approx([said.score for said in theirs], abs=1e-4)


def test_a_beam_goes_on_from_what_each_of_them_remembers():
    """The probability of a caption that the beam found is that of saying it word by word."""
    ensemble, grids = Ensemble([tiny.decoder("lstm", seed) for seed in range(2)]), torch.from_numpy(tiny.grids(1))
    for found in beam_search(ensemble, grids, 4, 5)[0]:
        memory, state = ensemble.begin(grids)
        total, entered = 0.0, START
        for word in (*found.ids, END)[:5]:
            with torch.no_grad():
                scores, state, _ = ensemble.next(torch.tensor([[entered]]), memory, state)
            total, entered = total + float(scores[0, 0, word]), word
        assert total == pytest.approx(found.log_probability, abs=1e-4)


def test_one_alone_is_no_ensemble():
    decoder = tiny.decoder()
    assert together([decoder]) is decoder
