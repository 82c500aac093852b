"""Anything in the order of its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def best_first(items: Sequence[Item], scores: Sequence[float]) -> list[Item]:
    """The greatest score first; equal ones stay as they are."""
    return [items[place] for place in sorted(range(len(items)), key=scores.__getitem__, reverse=True)]
