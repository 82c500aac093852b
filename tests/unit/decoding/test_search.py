"""Greedy and beam search find what they should, alike for every cell, one image or many."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.vocabulary import END, PAD, START, UNK
from src.decoding.search import Hypothesis, beam_search, greedy
from src.models.decoder import Decoder
from src.models.ensemble import Ensemble, together

CELLS = ["lstm", "gru"]
seeds = st.integers(0, 10_000)


def grids(images: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(tiny.grids(images, seed))


def log_probability(decoder: Decoder, grid: torch.Tensor, words: tuple[int, ...]) -> float:
    """Of saying these words one after the other, END among them where it is one of them."""
    total = 0.0
    with torch.no_grad():
        memory, state = decoder.begin(grid)
        for entered, said in zip((START, *words), words, strict=False):
            likely, state, _ = decoder.next(torch.tensor([[entered]]), memory, state)
            total += float(likely[0, 0, said])
    return total


def close(first: Hypothesis, second: Hypothesis) -> bool:
    return (
        first.ids == second.ids
        and first.log_probability == pytest.approx(second.log_probability, abs=1e-4)
        and first.score == pytest.approx(second.score, abs=1e-4)
        and torch.allclose(first.attention, second.attention, atol=1e-5)
    )


@pytest.mark.parametrize("rnn", CELLS)
@given(seed=seeds, max_words=st.integers(1, 7))
@settings(max_examples=25, deadline=None)
def test_a_single_beam_is_greedy_search(rnn, seed, max_words):
    decoder = tiny.decoder(rnn, seed)
    beams = beam_search(decoder, grids(4, seed), 1, max_words)
    for (beam,), best in zip(beams, greedy(decoder, grids(4, seed), max_words), strict=True):
        assert close(beam, best)


@pytest.mark.parametrize("rnn", CELLS)
@given(seed=seeds, penalty=st.sampled_from([0.0, 0.7, 1.5]))
@settings(max_examples=20, deadline=None)
def test_a_beam_as_wide_as_the_vocabulary_finds_the_best_of_all_captions(rnn, seed, penalty):
    words = (4, 5, 6)
    decoder = tiny.decoder(rnn, seed, vocab_size=7)
    captions = [(END,), *product(words, (END,)), *product(words, words)]
    for image, found in enumerate(beam_search(decoder, grids(2, seed), 7, 2, penalty)):
        grid = grids(2, seed)[[image]]
        ranked = {words: log_probability(decoder, grid, words) / len(words) ** penalty for words in captions}
        best = max(ranked, key=ranked.__getitem__)
        assert found[0].ids == tuple(word for word in best if word != END)
        assert found[0].score == pytest.approx(ranked[best], abs=1e-4)


@pytest.mark.parametrize("rnn", CELLS)
@given(seed=seeds, penalty=st.sampled_from([0.0, 1.0]), blocked=st.integers(0, 2))
@settings(max_examples=15, deadline=None)
def test_hypotheses_differ_and_rank_by_what_they_say_they_do(rnn, seed, penalty, blocked):
    decoder = tiny.decoder(rnn, seed)
    for image, found in enumerate(beam_search(decoder, grids(2, seed), 4, 5, penalty, blocked)):
        assert len({hypothesis.ids for hypothesis in found}) == len(found) == 4
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        for one in found:
            cut, ended = (log_probability(decoder, grids(2, seed)[[image]], (*one.ids, *end)) for end in ((), (END,)))
            expected = [ended] if len(one.ids) < 5 else [cut]
            assert one.log_probability == pytest.approx(expected[0], abs=1e-4)
            assert one.score == pytest.approx(one.log_probability / min(len(one.ids) + 1, 5) ** penalty, abs=1e-5)


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_a_wider_beam_finds_no_worse_a_caption_on_average(seed):
    decoder = tiny.decoder(seed=seed)
    narrow, wide = (
        sum(found[0].score for found in beam_search(decoder, grids(12, seed), beams, 4)) for beams in (1, 14)
    )
    assert wide >= narrow - 1e-4


@pytest.mark.parametrize("rnn", CELLS)
@given(seed=seeds, penalty=st.sampled_from([0.0, 1.0]))
@settings(max_examples=15, deadline=None)
def test_many_images_at_once_get_what_each_gets_alone(rnn, seed, penalty):
    decoder = tiny.decoder(rnn, seed)
    all_at_once = beam_search(decoder, grids(5, seed), 3, 6, penalty)
    for image, found in enumerate(all_at_once):
        (alone,) = beam_search(decoder, grids(5, seed)[[image]], 3, 6, penalty)
        assert all(map(close, found, alone)) and len(found) == len(alone)
    for image, best in enumerate(greedy(decoder, grids(5, seed), 6)):
        assert close(best, greedy(decoder, grids(5, seed)[[image]], 6)[0])


@pytest.mark.parametrize("rnn", CELLS)
def test_words_that_are_no_words_are_never_said(rnn):
    decoder = tiny.decoder(rnn)
    with torch.no_grad():
        decoder.vocab.bias[[PAD, START, UNK]] = 30.0
    said = [one.ids for found in beam_search(decoder, grids(6), 5, 6) for one in found]
    said += [one.ids for one in greedy(decoder, grids(6), 6)]
    assert any(said)
    assert not {PAD, START, END, UNK} & {word for ids in said for word in ids}


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_blocked_ngrams_are_said_once(beams, size):
    decoder = tiny.decoder(seed=3)
    with torch.no_grad():
        decoder.vocab.weight *= 0.05
        decoder.vocab.bias[4:6] += 5.0  # two words that it would say for ever
        decoder.vocab.bias[END] -= 5.0

    def repeats(blocked: int) -> int:
        found = beam_search(decoder, grids(4), beams, 9, block_ngrams=blocked)
        grams = [[one.ids[at : at + size] for at in range(len(one.ids) - size + 1)] for all in found for one in all]
        return sum(len(own) - len(set(own)) for own in grams)

    assert repeats(0) > 0
    assert repeats(size) == 0


def test_a_caption_that_may_say_nothing_more_ends():
    decoder = tiny.decoder(vocab_size=6)
    for found in beam_search(decoder, grids(3), 3, 9, block_ngrams=1):
        assert all(len(one.ids) <= 2 for one in found)


def test_length_penalty_lets_longer_captions_win():
    decoder = tiny.decoder(seed=2)

    def words(penalty: float) -> int:
        return sum(len(found[0].ids) for found in beam_search(decoder, grids(20), 6, 7, penalty))

    assert words(0.0) < words(1.0) <= words(2.0)


@dataclass
class Ending:
    """A speaker whose captions are over after as many words as their image says, at the latest.

    Attributes:
        kept: how many images each narrowing of a search left in it.
    """

    inner: Decoder | Ensemble
    kept: list[int] = field(default_factory=list)

    def begin(self, seen: torch.Tensor, captions: int = 1) -> tuple[Any, Any]:
        memory, state = self.inner.begin(seen, captions)
        return (memory, (seen[:, 0, 0].abs() * 1000).long() % 9), (state, 0)

    def next(self, words: torch.Tensor, memory: Any, state: Any) -> tuple[torch.Tensor, Any, torch.Tensor]:
        likely, following, looked = self.inner.next(words, memory[0], state[0])
        over = memory[1] <= state[1]
        likely[over] = -torch.inf
        likely[over, :, END] = 0.0
        return likely, (following, state[1] + 1), looked

    def pick(self, state: Any, rows: torch.Tensor, captions: torch.Tensor) -> Any:
        return self.inner.pick(state[0], rows, captions), state[1]

    def keep(self, memory: Any, state: Any, images: torch.Tensor) -> tuple[Any, Any]:
        self.kept.append(int(images.sum()))
        inner, following = self.inner.keep(memory[0], state[0], images)
        return (inner, memory[1][images]), (following, state[1])


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("members", [1, 2])
def test_images_whose_captions_are_found_leave_the_search_and_change_nothing(members, beams):
    speaker, images = Ending(together([tiny.decoder("lstm", seed) for seed in range(members)])), grids(24)

    def search(seen: torch.Tensor) -> list[list[Hypothesis]]:
        if beams == 1:
            return [[one] for one in greedy(speaker, seen, 12)]
        return beam_search(speaker, seen, beams, 12, length_penalty=0.7)

    found = search(images)
    assert len(speaker.kept) >= 3 and speaker.kept == sorted(set(speaker.kept), reverse=True)
    for image, hypotheses in enumerate(found):
        (alone,) = search(images[[image]])
        assert len(hypotheses) == len(alone) and all(map(close, hypotheses, alone))


@pytest.mark.parametrize("rnn", CELLS)
def test_each_word_comes_with_where_it_looked(rnn):
    decoder = tiny.decoder(rnn)
    for found in beam_search(decoder, grids(4), 4, 5):
        for one in found:
            assert one.attention.shape == (len(one.ids), tiny.REGIONS)
            torch.testing.assert_close(one.attention.sum(dim=1), torch.ones(len(one.ids)))


def test_attention_is_that_of_the_words_themselves():
    decoder = tiny.decoder()
    (found,) = beam_search(decoder, grids(1), 4, 5)
    for one in found:
        with torch.no_grad():
            memory, state = decoder.begin(grids(1))
            for word, looked in zip((START, *one.ids), one.attention, strict=False):
                _, state, expected = decoder.next(torch.tensor([[word]]), memory, state)
                torch.testing.assert_close(looked, expected[0, 0], rtol=1e-4, atol=1e-5)


def test_where_fewer_captions_exist_than_beams_each_is_found_once():
    decoder = tiny.decoder(vocab_size=6)
    for found in beam_search(decoder, grids(2), 8, 1):
        assert sorted(one.ids for one in found) == [(), (4,), (5,)]


def test_nothing_may_be_the_most_likely_thing_to_say():
    decoder = tiny.decoder()
    with torch.no_grad():
        decoder.vocab.bias[END] = 30.0
    (best,) = greedy(decoder, grids(1), 5)
    assert best.ids == () and best.attention.shape == (0, tiny.REGIONS)
    assert beam_search(decoder, grids(1), 2, 5)[0][0].ids == ()
