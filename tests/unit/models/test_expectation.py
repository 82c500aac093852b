"""What is expected of an image, held against the definition worked out with dense matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from src.metrics.cider import ImageReferences, InverseDocumentFrequency
from src.models import expectation
from src.models.expectation import Expectation

KINDS, FEATURES = 6, 12


def images(count: int, seed: int) -> tuple[torch.Tensor, list[list[list[int]]], list[int]]:
    """Features of images of six kinds, and what is said of them: words of the kind, and some of no meaning."""
    random = np.random.default_rng(seed)
    kinds = random.integers(0, KINDS, count)
    middle = np.random.default_rng(0).standard_normal((KINDS, FEATURES))
    features = middle[kinds] + 0.3 * random.standard_normal((count, FEATURES))
    references = [
        [[4, 10 + kind, 20 + kind, *random.integers(30, 40, random.integers(1, 5)).tolist()] for _ in range(3)]
        for kind in kinds.tolist()
    ]
    return torch.from_numpy(features).float(), references, kinds.tolist()


@pytest.fixture
def learnt() -> Expectation:
    features, references, _ = images(120, 1)
    return Expectation.learn(features, references)


def regression(features: torch.Tensor, references: Sequence[Sequence[Sequence[int]]], new: torch.Tensor, caption):
    """The CIDEr-D that a caption may expect of each new image, by the definition."""
    idf = InverseDocumentFrequency(references)
    targets = [ImageReferences(own, idf).score(caption) for own in references]
    mean, deviation = features.numpy().mean(axis=0), features.numpy().std(axis=0)

    def unit(values: torch.Tensor) -> np.ndarray:
        standard = (values.numpy() - mean) / deviation
        return standard / np.linalg.norm(standard, axis=1, keepdims=True)

    ridge = KernelRidge(alpha=expectation.RIDGE, kernel="precomputed")
    ridge.fit(np.exp(unit(features) @ unit(features).T - 1), targets)
    return ridge.predict(np.exp(unit(new) @ unit(features).T - 1))


@pytest.mark.parametrize("caption", [[4, 10, 20, 31], [4, 12, 22], [4, 99, 13], [12, 12, 12, 4, 4], [7, 8], [4], []])
def test_it_is_kernel_ridge_regression_to_cider(caption, monkeypatch):
    monkeypatch.setattr(expectation, "LEAST_IMAGES", 1)
    features, references, _ = images(120, 1)
    references[0], references[1] = references[0][:1], [[*own, *own] for own in references[1]]
    new, _, _ = images(8, 2)
    expected = regression(features, references, new, caption)
    found = [own[0] for own in Expectation.learn(features, references).cider(new[:, None], [[caption]] * len(new))]
    assert found == pytest.approx(expected, abs=5e-3)


def test_of_what_few_images_have_nothing_is_expected_but_it_is_part_of_a_caption():
    features, references, _ = images(120, 1)
    references[0] = [[*own, 50] for own in references[0]]
    learnt, (new, _, _) = Expectation.learn(features, references), images(8, 2)
    captions = [[4, 10, 20], [4, 10, 20, 50], [4, 10, 20, 51]]
    for plain, rare, unknown in learnt.cider(new[:, None], [captions] * 8):
        assert rare == pytest.approx(unknown, rel=0.2)
        assert abs(rare) < abs(plain)
    assert learnt.cider(new[:, None], [[[50], [50, 51]]] * 8) == [[0.0, 0.0]] * 8


def test_of_a_new_image_its_own_kinds_words_are_expected(learnt):
    new, _, kinds = images(30, 3)
    captions = [[4, 10 + kind, 20 + kind] for kind in range(KINDS)]
    told = learnt.cider(new[:, None], [captions] * len(new))
    assert [int(np.argmax(own)) for own in told] == kinds


def test_the_same_again_is_the_same_to_the_bit(learnt):
    features, references, _ = images(120, 1)
    again = Expectation.learn(features, references)
    assert all(torch.equal(value, again.state()[name]) for name, value in learnt.state().items())


def test_what_went_into_a_file_comes_back(learnt):
    back = Expectation.of({name: value.clone() for name, value in learnt.state().items()})
    new, _, _ = images(4, 5)
    captions = [[[4, 10, 20], [4]], [], [[4, 11, 21, 30]], [[]]]
    assert back.cider(new[:, None], captions) == learnt.cider(new[:, None], captions)
    assert [len(own) for own in back.cider(new[:, None], captions)] == [2, 0, 1, 1]


def test_where_nothing_is_said_often_enough_nothing_is_expected():
    features, _, _ = images(6, 1)
    silent = Expectation.learn(features, [[[10 + place]] for place in range(6)])
    assert silent.cider(features[:, None], [[[10], [11, 12]]] * 6) == [[0.0, 0.0]] * 6


def test_a_feature_that_never_varies_says_nothing():
    features, references, _ = images(60, 1)
    constant = torch.cat([features, torch.full((60, 1), 7.0)], dim=1)
    new, _, _ = images(5, 2)
    there = Expectation.learn(constant, references)
    told = there.cider(torch.cat([new, torch.full((5, 1), 7.0)], dim=1)[:, None], [[[4, 10, 20]]] * 5)
    without = Expectation.learn(features, references).cider(new[:, None], [[[4, 10, 20]]] * 5)
    assert np.array(told) == pytest.approx(np.array(without), abs=2e-3)
