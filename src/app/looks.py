"""Where a word looked, in words, for those who do not see the picture."""

from __future__ import annotations

from collections.abc import Sequence

ACROSS = ("left", "middle", "right")
DOWN = ("top", "middle", "bottom")
SPREAD = 2.0
"""A strongest region below so many times an even look is no place in particular."""


def place(look: Sequence[float], rows: int, columns: int) -> str:
    """Where in the picture a word looked most: "at the top left", "at the middle", "all over the picture".

    Args:
        look: the share of attention in each region, row by row.

    Raises:
        ValueError: `look` is not one share per region.
    """
    if len(look) != rows * columns:
        raise ValueError(f"{len(look)} shares are no grid of {rows} x {columns} regions")
    peak = max(range(len(look)), key=look.__getitem__)
    if look[peak] * len(look) < SPREAD:
        return "all over the picture"
    row, column = divmod(peak, columns)
    down, across = DOWN[_third(row, rows)], ACROSS[_third(column, columns)]
    if down == across:
        return "at the middle"
    return " ".join(("at the", *(part for part in (down, across) if part != "middle")))


def _third(position: int, size: int) -> int:
    return min(2, int(3 * (position + 0.5) / size))
