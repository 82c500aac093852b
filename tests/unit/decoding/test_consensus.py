"""The hypothesis that has most in common with all of a beam."""

from __future__ import annotations

import pytest
import tiny
import torch

from src.config import Decode
from src.decoding.consensus import consensus
from src.decoding.describe import describe
from src.decoding.search import Hypothesis


def hypothesis(ids: tuple[int, ...], score: float) -> Hypothesis:
    return Hypothesis(ids, score, score, torch.zeros(len(ids), 1))


ALONE = hypothesis((4, 5, 6, 7), -1.0)
"""The most probable one, which shares nothing with the others."""
COMMON = hypothesis((8, 9, 10, 11), -1.1)
ALIKE = hypothesis((8, 9, 10, 12), -1.3)


def test_what_two_say_is_preferred_to_what_one_says():
    assert consensus([ALONE, COMMON, ALIKE], 1.0)[0] is COMMON


def test_sharpness_brings_back_the_beams_own_order():
    assert consensus([ALONE, COMMON, ALIKE], 100.0) == [ALONE, COMMON, ALIKE]


def test_equally_probable_hypotheses_are_ordered_by_what_they_share():
    almost = hypothesis((8, 9, 4, 5), -0.1)
    assert consensus([almost, ALIKE, COMMON, hypothesis((8, 9, 10, 11, 12), -2.0)], 0.0)[-1] is almost


@pytest.mark.parametrize("beam", [[ALONE], [hypothesis((), -1.0), hypothesis((), -2.0)]])
def test_where_there_is_nothing_to_choose_the_order_stays(beam):
    assert consensus(beam, 1.0) == beam


def test_captions_come_in_the_order_of_their_consensus():
    grids = torch.from_numpy(tiny.grids(6))
    settings = Decode(beam_size=6, max_words=4, rerank="consensus", rerank_weight=0.0)
    plain = describe(tiny.decoder(), tiny.vocabulary(), grids, settings.model_copy(update={"rerank": "none"}))
    found = describe(tiny.decoder(), tiny.vocabulary(), grids, settings)
    for ordered, own in zip(found, plain, strict=True):
        assert {caption.words for caption in ordered} == {caption.words for caption in own}
    assert [own[0].words for own in found] != [own[0].words for own in plain]
