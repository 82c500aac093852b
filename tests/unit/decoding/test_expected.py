"""The hypothesis that has most in common with what may be expected of the image."""

from __future__ import annotations

import pytest
import tiny
import torch

from src.config import Decode
from src.decoding.describe import describe
from src.decoding.expected import as_expected
from src.decoding.search import Hypothesis
from src.errors import UserError
from src.models.expectation import Expectation

SEARCH = Decode(beam_size=6, max_words=4, rerank="expected", rerank_weight=50.0)


def hypothesis(ids: tuple[int, ...], score: float) -> Hypothesis:
    return Hypothesis(ids, score, score, torch.zeros(len(ids), 1))


LIKELY, FITTING = hypothesis((4, 5), -1.0), hypothesis((4, 6), -2.0)


@pytest.fixture
def expectation() -> Expectation:
    """Word 5 is said of images whose first feature is high, word 6 of the others."""
    features = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    return Expectation.learn(features, [[[4, 5 if own[0] > 0 else 6]] for own in features])


def test_each_image_gets_what_fits_it(expectation):
    grids = torch.tensor([[[3.0, 0, 0]], [[-3.0, 0, 0]]])
    found = as_expected([[LIKELY, FITTING]] * 2, grids, expectation, 50.0)
    assert found == [[LIKELY, FITTING], [FITTING, LIKELY]]


def test_without_weight_the_beams_own_order_stays(expectation):
    grids = torch.tensor([[[-3.0, 0, 0]]])
    assert as_expected([[LIKELY, FITTING]], grids, expectation, 0.0) == [[LIKELY, FITTING]]


def test_a_captioner_without_expectation_says_so():
    with pytest.raises(UserError, match=r"decode\.rerank is 'expected'.*train again"):
        describe(tiny.decoder(), tiny.vocabulary(), torch.from_numpy(tiny.grids(2)), SEARCH)


def test_captions_come_in_the_order_that_is_expected():
    grids = torch.from_numpy(tiny.grids(6))
    plain = describe(tiny.decoder(), tiny.vocabulary(), grids, SEARCH.model_copy(update={"rerank": "none"}))
    worst = [tiny.vocabulary().encode(own[-1].words) for own in plain]
    features = grids.float().mean(dim=1)
    taught = Expectation.learn(features.repeat(5, 1), [[caption] for caption in worst] * 5)
    found = describe(tiny.decoder(), tiny.vocabulary(), grids, SEARCH, taught)
    for ordered, own in zip(found, plain, strict=True):
        assert {caption.words for caption in ordered} == {caption.words for caption in own}
    assert [own[0].words for own in found] == [own[-1].words for own in plain]
