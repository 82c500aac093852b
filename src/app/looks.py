"""Where a word looked, in words, for those who do not see the picture."""

from __future__ import annotations

from collections.abc import Sequence

ACROSS = ("left", "middle", "right")
DOWN = ("top", "middle", "bottom")
SPREAD = 2.0
"""A strongest region below so many times an even look is no place in particular."""


def place(look: Sequence[float], rows: int, columns: int) -> str:
    """Where in the picture a word looked most: "at the top left", "at the middle", "all over the picture".

    The centre of the regions that are looked at at least half as much as the strongest one decides.

    Args:
        look: the share of attention in each region, row by row.

    Raises:
        ValueError: `look` is not one share per region.
    """
    if len(look) != rows * columns:
        raise ValueError(f"{len(look)} shares are no grid of {rows} x {columns} regions")
    peak = max(look)
    if peak * len(look) < SPREAD:
        return "all over the picture"
    strong = {region: share for region, share in enumerate(look) if share >= peak / 2}
    total = sum(strong.values())
    row = sum(region // columns * share for region, share in strong.items()) / total
    column = sum(region % columns * share for region, share in strong.items()) / total
    down, across = DOWN[_third(row, rows)], ACROSS[_third(column, columns)]
    if down == across:
        return "at the middle"
    return " ".join(("at the", *(part for part in (down, across) if part != "middle")))


def _third(position: float, size: int) -> int:
    return min(2, int(3 * (position + 0.5) / size))
