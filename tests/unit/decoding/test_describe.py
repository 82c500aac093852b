"""Captions as people read them."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch

from src.config import Decode
from src.decoding.describe import Caption, describe
from src.decoding.images import describe_rows
from src.decoding.search import beam_search, greedy
from src.errors import UserError


def test_one_beam_is_one_caption_and_more_are_as_many():
    grids = torch.from_numpy(tiny.grids(3))
    for beams in (1, 4):
        found = describe(tiny.decoder(), tiny.vocabulary(), grids, Decode(beam_size=beams, max_words=4))
        assert [len(captions) for captions in found] == [beams] * 3


def test_a_caption_is_its_hypothesis_in_words():
    grids, words = torch.from_numpy(tiny.grids(3)), tiny.vocabulary().words
    settings = Decode(beam_size=3, max_words=5, length_penalty=1.0, block_ngrams=2)
    found = describe(tiny.decoder(), tiny.vocabulary(), grids, settings)
    for captions, hypotheses in zip(found, beam_search(tiny.decoder(), grids, 3, 5, 1.0, 2), strict=True):
        for caption, hypothesis in zip(captions, hypotheses, strict=True):
            assert caption.words == tuple(words[number] for number in hypothesis.ids)
            assert caption.log_probability == hypothesis.log_probability
            assert torch.equal(caption.attention, hypothesis.attention)


def test_greedy_captions_heed_blocked_ngrams():
    decoder = tiny.decoder()
    with torch.no_grad():
        decoder.vocab.bias[4] += 20.0
    grids = torch.from_numpy(tiny.grids(1))
    assert greedy(decoder, grids, 4)[0].ids == (4, 4, 4, 4)
    ((caption,),) = describe(decoder, tiny.vocabulary(), grids, Decode(beam_size=1, max_words=4, block_ngrams=1))
    assert len(set(caption.words)) == len(caption.words)


def test_chosen_rows_are_described_in_their_order_whatever_the_batch():
    grids, rows = tiny.grids(9), [7, 0, 3, 8, 1]
    alone = [
        describe(tiny.decoder(), tiny.vocabulary(), torch.from_numpy(grids[[row]]), Decode(beam_size=2, max_words=5))
        for row in rows
    ]
    expected = [(found[0].words, pytest.approx(found[0].log_probability, abs=1e-4)) for (found,) in alone]
    for size in (1, 2, 128):
        settings = Decode(beam_size=2, max_words=5, batch_images=size)
        found = describe_rows(tiny.captioner(), grids, rows, settings)
        assert [(captions[0].words, captions[0].log_probability) for captions in found] == expected


def test_rows_too_many_for_the_memory_are_described_in_parts(monkeypatch):
    rows, settings = [7, 0, 3, 8, 1], Decode(beam_size=2, max_words=5)

    def described() -> list[list[tuple[str, ...]]]:
        found = describe_rows(tiny.captioner(), tiny.grids(9), rows, settings)
        return [[caption.words for caption in captions] for captions in found]

    expected, room = described(), 2

    def limited(decoder: Any, vocabulary: Any, grids: torch.Tensor, *others: Any) -> list[list[Caption]]:
        if len(grids) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return describe(decoder, vocabulary, grids, *others)

    monkeypatch.setattr("src.decoding.images.describe", limited)
    assert described() == expected
    room = 0
    with pytest.raises(UserError, match=r"one image is too much .* decode\.beam_size"):
        described()


def test_a_sentence_begins_with_a_capital_and_ends_with_a_full_stop():
    said = Caption(("a", "dog", "runs"), -1.0, torch.zeros(3, 6))
    assert (said.text, said.sentence) == ("a dog runs", "A dog runs.")
    assert Caption((), -1.0, torch.zeros(0, 6)).sentence == ""
