"""Chance in two kinds: choices that a scene is about, and the small variety of where and how exactly.

When an arrangement does not fit, the variety is drawn again and the choices stay; otherwise whatever is hard to place
(buses, groups of five) would be rare, and its absence would tell of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Dice:
    def __init__(self, choices: np.random.Generator, variety: np.random.Generator) -> None:
        self._choices, self._variety = choices, variety

    def pick(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of the options, with chances in proportion to the weights (alike without them)."""
        shares = np.ones(len(options)) if weights is None else np.asarray(weights, dtype=float)
        return options[int(self._choices.choice(len(options), p=shares / shares.sum()))]

    def chance(self, share: float) -> bool:
        return bool(self._choices.random() < share)

    def between(self, low: float, high: float) -> float:
        """A number that stands in no caption."""
        return float(self._variety.uniform(low, high))

    def seed(self) -> int:
        return int(self._variety.integers(2**31))
