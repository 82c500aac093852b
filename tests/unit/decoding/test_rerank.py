"""Another model's likelihood changes the order of a beam as much as its weight says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from coloured import COLOURS, Coloured

from src.config import Decode
from src.decoding.describe import Caption
from src.decoding.rerank import rerank, reranked


def caption(text: str, log_probability: float) -> Caption:
    words = tuple(text.split())
    return Caption(words, log_probability, torch.zeros(len(words), 1))


BEAM = [caption("a dog", -1.0), caption("a cat runs", -2.0), caption("a bird", -5.0)]


def order(likelihoods: list[float], **decode: float) -> list[str]:
    return [one.text for one in rerank(BEAM, likelihoods, Decode(length_penalty=0.0).model_copy(update=decode))]


def test_a_second_opinion_changes_the_order():
    assert order([-9.0, -1.0, -1.0]) == ["a cat runs", "a bird", "a dog"]


def test_without_weight_the_beams_own_order_stays():
    assert order([-9.0, -1.0, -1.0], rerank_weight=0.0) == [one.text for one in BEAM]


@pytest.mark.parametrize(("rerank", "weight"), [("consensus", 1.5), ("expected", 15.0), ("baseline", 1.0)])
def test_every_way_of_choosing_has_a_weight_of_its_own_unless_one_is_given(rerank: Any, weight: float):
    assert Decode(rerank=rerank).weight == weight
    assert Decode(rerank=rerank, rerank_weight=0.0).weight == 0.0


def test_long_captions_are_favoured_as_in_the_beam():
    assert order([-2.0, -1.8, -9.0], length_penalty=0.0)[0] == "a dog"
    assert order([-2.0, -1.8, -9.0], length_penalty=1.0)[0] == "a cat runs"


def test_a_caption_that_was_cut_has_no_end_that_counts():
    cut, whole = caption("a dog on the", -1.53 * 4**0.7), caption("a dog", -1.5 * 3**0.7)
    settings = Decode(length_penalty=0.7, max_words=4, rerank_weight=0.0)
    assert rerank([whole, cut], [0.0, 0.0], settings) == [whole, cut]


def test_every_images_beam_is_judged_by_its_own_picture(colours: Coloured):
    def log_likelihood(pictures: list[Any], captions: list[list[str]]) -> list[list[float]]:
        seen = [np.asarray(picture, float).mean(axis=(0, 1)) for picture in pictures]
        return [
            [-float(np.abs(colour - COLOURS[text.split()[1]]).max()) for text in own]
            for colour, own in zip(seen, captions, strict=True)
        ]

    judge: Any = SimpleNamespace(log_likelihood=log_likelihood, settings=colours.settings.baseline)
    images = colours.manifest.split("test")
    beam = [caption(f"a {colour} picture", -1.0) for colour in COLOURS]
    found = list(reranked([beam] * len(images), images, colours.settings.dataset.root, judge, Decode()))
    assert [own[0].text for own in found] == [" ".join(image.words[0]) for image in images]
