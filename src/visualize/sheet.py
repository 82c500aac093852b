"""A contact sheet: what a model says of its best, middling and worst test images, and of some drawn by lot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from src.visualize.style import DPI, HEADING, LABEL, QUIET, RULE, SMALL, TEXT, WIDTH, colour, height, styled, wrapped

COLUMNS = 5
MARGIN, GAP, TOP, NAME = 0.25, 0.2, 0.95, 0.32
"""Inches round the sheet, between pictures, for the heading, and for a row's name."""
WIDE = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
LINES = 4
BEST, MIDDLE, WORST, LOT = "Best", "Middle", "Worst", "Drawn by lot"


@dataclass(frozen=True)
class Tile:
    """One image of the sheet: RGB picture, the model's caption, what one person wrote, the caption's score, and what
    other models say, by name."""

    picture: Image.Image
    caption: str
    reference: str
    score: float
    others: Mapping[str, str] = field(default_factory=dict)


def choose(scores: Sequence[float], each: int, seed: int) -> dict[str, list[int]]:
    """Positions of the images to show, no image twice: the best, the middle, the worst, and some of the rest by lot.

    Args:
        scores: one figure per image; of equals the earlier image comes first.
        each: how many of a kind. With fewer than four times as many images each kind gets a quarter, at least one; a
            kind for which no image is left is absent.
    """
    order = sorted(range(len(scores)), key=lambda image: -scores[image])
    each = min(each, max(1, len(scores) // 4))
    best, rest = order[:each], order[each:]
    worst = rest[-each:]
    rest = rest[: len(rest) - len(worst)]
    start = (len(rest) - each + 1) // 2 if len(rest) > each else 0
    middle = rest[start : start + each]
    rest = sorted(rest[:start] + rest[start + each :])
    lot = np.random.default_rng(seed).permutation(len(rest))[:each]
    chosen = {BEST: best, MIDDLE: middle, WORST: worst, LOT: [rest[position] for position in lot]}
    return {kind: images for kind, images in chosen.items() if images}


@styled()
def sheet_figure(rows: Mapping[str, Sequence[Tile]], model: str, metric: str) -> Figure:
    """One row of pictures per kind; below each its score, the caption in the model's colour, a reference in grey,
    and what other models say in theirs.

    Args:
        rows: at least one kind; at least one tile, and at most COLUMNS, of each.
        metric: what the scores are of.
    """
    shapes = [tile.picture.height / tile.picture.width for tiles in rows.values() for tile in tiles]
    side = WIDE * float(np.clip(np.median(shapes), 0.5, 1.2))
    below = [
        max(sum(height for _, height, _ in _words(tile, model, metric)) for tile in tiles) for tiles in rows.values()
    ]
    total = TOP + sum(NAME + side + words + GAP for words in below)
    figure = Figure(figsize=(WIDTH, total))

    def write(text: str, left: float, down: float, **look: Any) -> None:
        figure.text(left / WIDTH, 1 - down / total, text, va="top", **look)

    write(f"What the {model} says of test images", MARGIN, MARGIN, size=HEADING, weight="bold")
    explained = f"{metric} compares a caption with those that people wrote; one of theirs is in grey."
    write(explained, MARGIN, MARGIN + 0.32, size=SMALL, color=QUIET)
    down = TOP
    for (kind, tiles), words in zip(rows.items(), below, strict=True):
        write(kind, MARGIN, down, size=LABEL, weight="bold")
        down += NAME
        for column, tile in enumerate(tiles):
            left = MARGIN + column * (WIDE + GAP)
            axes = figure.add_axes((left / WIDTH, 1 - (down + side) / total, WIDE / WIDTH, side / total))
            axes.set_axis_off()
            size = (round(WIDE * DPI), round(side * DPI))
            padded = ImageOps.pad(tile.picture, size, Image.Resampling.LANCZOS, color=RULE)
            axes.imshow(padded, interpolation="nearest", aspect="auto")
            at = down + side + 0.07
            for text, high, look in _words(tile, model, metric):
                write(text, left, at, **look)
                at += high
        down += side + words + GAP
    return figure


def _words(tile: Tile, model: str, metric: str) -> list[tuple[str, float, dict[str, Any]]]:
    """What stands below a picture: texts, the inches each takes, and how each looks."""
    caption = wrapped(tile.caption, WIDE, TEXT, LINES, bold=True)
    reference = wrapped(tile.reference, WIDE, SMALL, LINES)
    score = f"{metric} {tile.score:.2f}"
    others = {other: wrapped(f"{other}: {said}", WIDE, SMALL, LINES) for other, said in tile.others.items()}
    return [
        (score, height(score, SMALL), {"size": SMALL, "color": QUIET}),
        (caption, height(caption, TEXT), {"size": TEXT, "color": colour(model), "weight": "bold"}),
        (reference, height(reference, SMALL), {"size": SMALL, "color": QUIET}),
        *((said, height(said, SMALL), {"size": SMALL, "color": colour(other)}) for other, said in others.items()),
    ]
