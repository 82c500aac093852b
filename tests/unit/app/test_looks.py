"""Where a word looked, in words."""

from __future__ import annotations

import pytest

from src.app.looks import place


def look(peak: int, regions: int = 9, share: float = 0.9) -> list[float]:
    rest = (1 - share) / (regions - 1)
    return [share if region == peak else rest for region in range(regions)]


@pytest.mark.parametrize(
    ("peak", "where"),
    [(0, "at the top left"), (1, "at the top"), (4, "at the middle"), (5, "at the right"), (6, "at the bottom left")],
)
def test_the_strongest_region_is_named_by_its_place(peak: int, where: str) -> None:
    assert place(look(peak), 3, 3) == where


def test_between_two_regions_that_are_looked_at_alike_their_middle_counts() -> None:
    assert place([0.5, 0, 0, 0, 0.5], 1, 5) == "at the middle"
    assert place([0.5, 0, 0, 0, 0.2], 1, 5) == "at the left"


def test_an_even_look_is_all_over_the_picture() -> None:
    assert place([1 / 49] * 49, 7, 7) == "all over the picture"


def test_the_outer_regions_of_a_large_grid_are_its_borders() -> None:
    assert place(look(8 * 9 + 8, 81), 9, 9) == "at the bottom right"


def test_a_look_of_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="9 shares are no grid of 2 x 4"):
        place(look(0), 2, 4)
