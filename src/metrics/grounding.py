"""Attention grounding: does the decoder look at the thing it names?

A word that names an object of the image (`Box.words`) is grounded when the region with the most attention lies in the
object's true box. This is the pointing game (Zhang et al. 2016, "Top-down neural attention by excitation backprop",
section 4.1) played by the words of generated captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from src.data.manifest import Box


class Grounding(NamedTuple):
    """Of one caption, or of several added up."""

    words: int
    """That name an object with a box."""
    hits: int
    """Words whose attention peaks in the box."""
    by_chance: float
    """Hits that a peak anywhere in the grid, each region as likely, would have on average."""


class Point(NamedTuple):
    """One word of a caption that names an object with a box."""

    word: int
    """Its place in the caption."""
    name: str
    """Of the object; of the first, where the word names several."""
    region: int
    """That has the most attention."""
    hit: bool
    """The region lies in the box."""
    by_chance: float
    """Share of the grid's regions that do."""


def points(
    words: Sequence[str], attention: Float[np.ndarray, "word region"], boxes: Sequence[Box], rows: int, columns: int
) -> list[Point]:
    """Where each word of a caption that names an object looked, and whether the object is there.

    Args:
        attention: a row per word over the regions of a grid of `rows` x `columns`, row by row.
        boxes: of the image; a word that names several may look at any of them.

    Raises:
        ValueError: `attention` does not fit the words or the grid.
    """
    if attention.shape != (len(words), rows * columns):
        raise ValueError(
            f"attention of shape {attention.shape} for {len(words)} words and a grid of {rows} x {columns}"
        )
    found = []
    for place, (word, look) in enumerate(zip(words, attention, strict=True)):
        named = [box for box in boxes if word in box.words]
        if named:
            inside = np.logical_or.reduce([_regions(box, rows, columns) for box in named])
            peak = int(look.argmax())
            found.append(Point(place, named[0].name, peak, bool(inside[peak]), float(inside.mean())))
    return found


def ground(
    words: Sequence[str], attention: Float[np.ndarray, "word region"], boxes: Sequence[Box], rows: int, columns: int
) -> Grounding:
    """`points`, counted."""
    found = points(words, attention, boxes, rows, columns)
    return Grounding(len(found), sum(point.hit for point in found), sum(point.by_chance for point in found))


def shares(captions: Sequence[Grounding]) -> dict[str, float]:
    """`attention_in_box`, the share of object words that are grounded, and what chance would give for the same words.

    Empty when no caption names an object.
    """
    words, hits, by_chance = (sum(column) for column in zip(*captions, strict=True)) if captions else (0, 0, 0.0)
    return {"attention_in_box": hits / words, "attention_in_box_by_chance": by_chance / words} if words else {}


def _regions(box: Box, rows: int, columns: int) -> Bool[np.ndarray, " region"]:
    """The regions whose centre is in the box; for a box that holds none, the region that holds the box's centre."""
    down = _cells(box.top, box.bottom, rows)
    across = _cells(box.left, box.right, columns)
    return np.asarray(down[:, None] & across[None, :]).ravel()


def _cells(low: float, high: float, cells: int) -> Bool[np.ndarray, " cell"]:
    centres = (np.arange(cells) + 0.5) / cells
    inside = (centres >= low) & (centres <= high)
    if not inside.any():
        inside[min(int((low + high) / 2 * cells), cells - 1)] = True
    return np.asarray(inside)
