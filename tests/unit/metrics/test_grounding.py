"""A word is grounded when its attention peaks in the box of what it names."""

import numpy as np
import pytest

from src.data.manifest import Box
from src.metrics.grounding import Grounding, ground, shares

DOG = Box("dog", 0.0, 0.0, 0.5, 0.5, ("dog", "puppy"))
BALL = Box("ball", 0.8, 0.8, 0.85, 0.85, ("ball",))


def looking(*regions, size=16):
    """Attention that peaks at the given region for each word."""
    return np.array([[0.5 if place == region else 0.5 / (size - 1) for place in range(size)] for region in regions])


@pytest.mark.parametrize(("region", "hits"), [(0, 1), (1, 1), (5, 1), (2, 0), (8, 0), (15, 0)])
def test_a_peak_in_the_box_is_a_hit(region, hits):
    # A grid of 4 x 4, of which the dog has the upper left quarter.
    assert ground(["a", "dog"], looking(15, region), [DOG], 4, 4) == Grounding(1, hits, 0.25)


def test_every_word_that_names_the_object_counts_and_others_do_not():
    assert ground(["puppy", "and", "dog", "cat"], looking(0, 0, 15, 0), [DOG], 4, 4) == Grounding(2, 1, 0.5)


def test_a_box_smaller_than_a_region_has_the_region_it_lies_in():
    assert ground(["ball"], looking(15), [DOG, BALL], 4, 4) == Grounding(1, 1, 1 / 16)


def test_a_word_may_look_at_any_of_the_objects_it_names():
    other = Box("dog", 0.5, 0.5, 1.0, 1.0, ("dog",))
    assert ground(["dog"], looking(15), [DOG, other], 4, 4) == Grounding(1, 1, 0.5)


def test_rows_run_downwards():
    left = Box("tree", 0.0, 0.0, 0.3, 1.0, ("tree",))
    assert ground(["tree"], looking(3, size=6), [left], 2, 3) == Grounding(1, 1, 1 / 3)


def test_shares_are_over_all_words():
    assert shares([Grounding(2, 1, 0.5), Grounding(0, 0, 0.0), Grounding(2, 2, 0.3)]) == {
        "attention_in_box": 0.75,
        "attention_in_box_by_chance": pytest.approx(0.2),
    }


@pytest.mark.parametrize("captions", [[], [Grounding(0, 0, 0.0)]])
def test_without_boxes_there_is_no_share(captions):
    assert shares(captions) == {}


def test_attention_of_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"\(1, 16\) for 1 words and a grid of 3 x 3"):
        ground(["dog"], looking(0), [DOG], 3, 3)
