"""Intervals hold what they should as often as they should, and chance alone is seldom called a difference."""

import numpy as np
import pytest

from src.metrics.coco import bleu
from src.metrics.scores import averaged
from src.metrics.significance import compare


def compared(**models):
    return compare({name: {"metric": averaged(figures).sums} for name, figures in models.items()}, 400)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = compared(one=random.normal(0.5, 0.2, 80)).intervals["one"]["metric"]
        held += low <= 0.5 <= high
    assert 180 <= held <= 199


def test_an_interval_of_a_mean_is_the_one_that_theory_gives():
    figures = np.random.default_rng(2).normal(0.5, 0.2, 400)
    found = compare({"one": {"metric": averaged(figures).sums}}, 4000).intervals["one"]["metric"]
    margin = 1.96 * figures.std() / 20
    assert found == pytest.approx((figures.mean() - margin, figures.mean() + margin), abs=0.002)


def test_models_that_differ_by_chance_are_seldom_told_apart():
    random = np.random.default_rng(3)
    p = [compared(one=random.normal(size=60), two=random.normal(size=60)).pairs[0].p for _ in range(200)]
    assert 2 <= sum(value < 0.05 for value in p) <= 20
    assert 0.4 < np.mean(p) < 0.6


def test_a_small_but_steady_difference_is_found_because_images_are_paired():
    hard = np.random.default_rng(4).normal(0.5, 0.3, 100)
    steady = np.random.default_rng(5).normal(0.01, 0.02, 100)
    result = compared(one=hard + steady, two=hard)
    (pair,) = result.pairs
    assert pair.p < 0.01 and 0 < pair.low < pair.difference < pair.high
    # The intervals of the two figures overlap all the same.
    assert result.intervals["one"]["metric"][0] < result.intervals["two"]["metric"][1]


def test_p_is_the_share_of_all_tosses_where_they_can_be_counted():
    # Of the 16 tosses of four differences of 1, two are as large as the one observed.
    p = (
        compare({"one": {"m": averaged([1, 1, 1, 1]).sums}, "two": {"m": averaged([0, 0, 0, 0]).sums}}, 20_000)
        .pairs[0]
        .p
    )
    assert p == pytest.approx(2 / 16, abs=0.01)


def test_a_model_does_not_differ_from_itself():
    (pair,) = compared(one=[0.1, 0.9, 0.4], two=[0.1, 0.9, 0.4]).pairs
    assert (pair.difference, pair.low, pair.high, pair.p) == (0, 0, 0, 1)


def test_corpus_bleu_is_aggregated_anew_and_not_averaged():
    # One long perfect caption and one short wrong one: the corpus figure is far from the mean of the two.
    references = [["a b c d e f g h i j k l m n o p q r s t"], ["x y"]]
    sums = bleu(references, ["a b c d e f g h i j k l m n o p q r s t", "v w"])["BLEU-1"].sums
    low, high = compare({"one": {"BLEU-1": sums}}, 400).intervals["one"]["BLEU-1"]
    assert (low, high) == (pytest.approx(0, abs=1e-6), pytest.approx(1))
    assert float(sums.figure(sums.parts.sum(axis=0))) == pytest.approx(20 / 22)


def test_pairs_are_of_what_both_models_have_and_first_minus_second():
    a, b = averaged([0.5, 0.7]).sums, averaged([0.1, 0.1]).sums
    pairs = compare({"LSTM": {"m": a, "only": a}, "GRU": {"m": b}, "BLIP": {"m": b}}, 100).pairs
    assert [(pair.first, pair.second, pair.metric) for pair in pairs] == [
        ("LSTM", "GRU", "m"),
        ("LSTM", "BLIP", "m"),
        ("GRU", "BLIP", "m"),
    ]
    assert pairs[0].difference == pytest.approx(0.5)


def test_the_seed_decides_and_the_split_into_blocks_is_not_seen(monkeypatch):
    figures = np.random.default_rng(6).random(50)
    assert compared(one=figures) == compared(one=figures)
    monkeypatch.setattr("src.metrics.significance._CELLS", 50 * 30)
    result = compared(one=figures + 1, two=figures)
    low, high = result.intervals["two"]["metric"]
    assert low < figures.mean() < high
    assert result.pairs[0].p == 1 / 401  # of all 400 resamples, whatever block they are in


def test_models_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"of the same images, not of \[2, 3\]"):
        compared(one=[1, 2], two=[1, 2, 3])
