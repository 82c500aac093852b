"""Another model's likelihood changes the order of a beam as much as its weight says."""

from __future__ import annotations

import torch
from coloured import Coloured

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


def test_long_captions_are_favoured_as_in_the_beam():
    assert order([-2.0, -1.8, -9.0], length_penalty=0.0)[0] == "a dog"
    assert order([-2.0, -1.8, -9.0], length_penalty=1.0)[0] == "a cat runs"


def test_a_caption_that_was_cut_has_no_end_that_counts():
    cut, whole = caption("a dog on the", -1.53 * 4**0.7), caption("a dog", -1.5 * 3**0.7)
    settings = Decode(length_penalty=0.7, max_words=4, rerank_weight=0.0)
    assert rerank([whole, cut], [0.0, 0.0], settings) == [whole, cut]


def test_every_images_beam_is_judged_by_its_own_picture(colours: Coloured):
    torch.manual_seed(0)
    baseline = colours.baseline().ready(torch.device("cpu"))
    images = colours.manifest.split("test")
    beam = [caption("this is blue", -1.0), caption("a red picture", -1.0)]
    found = list(reranked([beam] * len(images), images, colours.settings.dataset.root, baseline, Decode()))
    judged = baseline.log_likelihood(colours.pictures("test"), [[one.text for one in beam]] * len(images))
    expected = [rerank(beam, own, Decode()) for own in judged]
    assert [[one.text for one in own] for own in found] == [[one.text for one in own] for own in expected]
