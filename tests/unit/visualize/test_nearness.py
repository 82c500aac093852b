"""How far alike things lie together is a number between what chance gives and one."""

import tracemalloc

import numpy as np
import pytest

from src.visualize.clusters import clusters, typical_words
from src.visualize.nearness import nearest, nearness, overlap

GROUPS, EACH = 3, 10
LABELS = np.repeat(np.arange(GROUPS), EACH)


def grouped(seed: int, spread: float = 0.1) -> np.ndarray:
    """Unit vectors about three directions, ten each."""
    noise = np.random.default_rng(seed).standard_normal((GROUPS * EACH, 6))
    vectors = np.eye(6)[LABELS] + spread * noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_neighbours_come_nearest_first_and_nobody_is_his_own() -> None:
    angles = np.array([0.0, 0.1, 0.3, 2.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert nearest(vectors, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


def test_points_are_compared_some_at_a_time_and_never_all_with_all_in_memory(monkeypatch) -> None:
    vectors = np.random.default_rng(0).standard_normal((2000, 8)).astype(np.float32)
    whole = nearest(vectors, 5)
    monkeypatch.setattr("src.visualize.nearness.AT_ONCE", 130)
    tracemalloc.start()
    found = nearest(vectors, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found == whole).all()
    assert peak < 4 * 2000 * 2000  # bytes of all likenesses


def test_a_space_shares_all_neighbours_with_itself() -> None:
    assert overlap(grouped(0), grouped(0), 5) == 1


def test_spaces_with_the_same_groups_share_more_neighbours_than_unrelated_ones() -> None:
    unrelated = np.random.default_rng(9).permutation(grouped(1))
    assert overlap(grouped(0), grouped(1), 9) > 0.9 > 0.6 > overlap(grouped(0), unrelated, 9)


def test_groups_that_lie_apart_have_a_silhouette_near_one_in_both_spaces() -> None:
    owners = np.repeat(np.arange(30), 2).tolist()
    figures = nearness(grouped(0), grouped(1), np.repeat(grouped(1), 2, axis=0), owners, LABELS, LABELS)
    assert all(value > 0.8 for name, value in figures.items() if name.startswith("silhouette"))
    assert figures["same_image_nearest"] == 1 and figures["same_image_nearest_by_chance"] == pytest.approx(1 / 59)
    assert figures["neighbour_overlap_by_chance"] == pytest.approx(10 / 29)


def test_where_no_image_has_two_captions_nothing_is_said_of_them() -> None:
    figures = nearness(grouped(0), grouped(1), grouped(1), list(range(30)), LABELS, LABELS)
    assert "same_image_nearest" not in figures


def test_clusters_are_the_groups_and_the_largest_comes_first() -> None:
    uneven = np.concatenate([grouped(0, 0.02)[:6], grouped(0, 0.02)[20:]])
    assert clusters(uneven, seed=0).tolist() == [1] * 6 + [0] * 10


def test_a_clusters_words_are_those_that_tell_it_from_the_others() -> None:
    dogs = [[["a", "dog", "runs", "on", "grass"], ["the", "dogs", "run"]]] * 4
    boats = [[["a", "boat", "on", "the", "water"]]] * 4
    words = typical_words(dogs + boats, np.repeat([0, 1], 4))
    assert words[0][0] in ("dog", "dogs") and not {"dog", "dogs"} <= set(words[0])
    assert set(words[1]) == {"boat", "water"}


def test_a_cluster_without_words_of_its_own_has_none() -> None:
    same = [[["a", "dog"]]] * 6
    assert typical_words(same, np.repeat([0, 1], 3)) == [[], []]
