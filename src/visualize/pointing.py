"""Whether attention peaks where the named object is: counted over all test images with boxes, and shown on some.

The pointing game of `src.metrics.grounding`, to be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from src.data.manifest import Box
from src.metrics.grounding import Point
from src.visualize.attention import fitted
from src.visualize.heat import Look, draw_word, scale
from src.visualize.style import HEADING, INK, LABEL, QUIET, SMALL, TEXT, WIDTH, colour, styled, wrapped

EXAMPLES, ACROSS = 10, 5
MOST_OBJECTS = 14
"""Kinds of objects in the chart, those that are named most often."""
MARGIN, GAP = 0.25, 0.14
CHART = 4.3
WIDE = (WIDTH - 2 * MARGIN - (ACROSS - 1) * GAP) / ACROSS


@dataclass(frozen=True)
class Example:
    """A picture in which a model named an object.

    Attributes:
        picture: RGB.
        word: the object word's place in the caption.
    """

    picture: Image.Image
    look: Look
    word: int
    boxes: Sequence[Box]


def examples(looks: Sequence[Look], boxes: Sequence[Sequence[Box]], seed: int) -> list[tuple[int, int]]:
    """Images drawn by lot among those where an object is named, hits or not: (image, place of its first such word)."""
    named = [(image, found[0].word) for image, look in enumerate(looks) if (found := look.points(boxes[image]))]
    lot = np.random.default_rng(seed).permutation(len(named))[:EXAMPLES]
    return [named[position] for position in sorted(lot)]


@styled()
def pointing_figure(points: Mapping[str, Sequence[Point]], shown: Sequence[Example]) -> Figure:
    """Above, per kind of object and model, how many of its words peak inside its box; below, some of the words.

    Args:
        points: model -> the object words of all its captions; at least one of one model.
        shown: of the first model.
    """
    rows = -(-len(shown) // ACROSS)
    side = WIDE * (max(example.picture.height / example.picture.width for example in shown) if shown else 0)
    below = 0.5 + rows * (0.3 + side + GAP) if shown else 0.0
    top = 0.75 + 0.27 * len(points)
    total = top + CHART + below
    figure = Figure(figsize=(WIDTH, total))

    def write(text: str, down: float, **look: Any) -> None:
        figure.text(MARGIN / WIDTH, 1 - down / total, text, va="top", **look)

    write("Does attention peak inside the object that a word names?", MARGIN, size=HEADING, weight="bold")
    for line, (model, found) in enumerate(points.items()):
        write(counted(model, found), 0.66 + 0.25 * line, size=LABEL, weight="bold", color=colour(model))
    bottom = (below + 0.55) / total
    axes = figure.add_axes((2.6 * MARGIN / WIDTH, bottom, 1 - 3.6 * MARGIN / WIDTH, (CHART - 1.0) / total))
    _chart(axes, points)
    if not shown:
        return figure
    down = top + CHART + 0.1
    first = next(iter(points))
    write(
        f"Object words of the {first} drawn by lot. Dashed: the true box. The dot, or cross, is the peak.", down,
        size=LABEL, color=INK,
    )  # fmt: skip
    heat = scale([example.look for example in shown])
    for position, example in enumerate(shown):
        row, column = divmod(position, ACROSS)
        left = MARGIN + column * (WIDE + GAP)
        under = down + 0.35 + (row + 1) * (0.3 + side) + row * GAP
        panel = figure.add_axes((left / WIDTH, 1 - under / total, WIDE / WIDTH, side / total))
        panel.set_axis_off()
        draw_word(panel, fitted(example.picture, WIDE, side), example.look, example.word, heat, example.boxes, LABEL)
    return figure


def counted(model: str, points: Sequence[Point]) -> str:
    """'LSTM: 101 of 151 object words, 67 %; a peak anywhere would give 14 %'."""
    hits, chance = sum(point.hit for point in points), sum(point.by_chance for point in points)
    words = len(points)
    return (
        f"{model}: {hits} of {words} object words, {hits / words:.0%}; a peak anywhere would give {chance / words:.0%}"
    )


def _chart(axes: Axes, points: Mapping[str, Sequence[Point]]) -> None:
    """Bars of hits by kind of object, with the chance of each as a line across."""
    often = Counter(point.name for found in points.values() for point in found)
    kinds = [name for name, _ in often.most_common(MOST_OBJECTS)]
    thick = 0.76 / len(points)
    for number, (model, found) in enumerate(points.items()):
        for place, kind in enumerate(kinds):
            own = [point for point in found if point.name == kind]
            if not own:
                continue
            hits, at = sum(point.hit for point in own), place + (number - (len(points) - 1) / 2) * thick
            axes.bar(at, hits / len(own), width=thick * 0.92, color=colour(model))
            axes.text(
                at, hits / len(own) + 0.015, f"{hits}/{len(own)}", ha="center", va="bottom", size=SMALL - 1.5,
                color=colour(model),
            )  # fmt: skip
    for place, kind in enumerate(kinds):
        chance = np.mean([point.by_chance for found in points.values() for point in found if point.name == kind])
        for shade, thickness in (("white", 3.2), (INK, 1.4)):
            axes.plot(
                [place - 0.42, place + 0.42], [chance, chance], color=shade, linewidth=thickness, solid_capstyle="butt"
            )
    axes.set_ylim(0, 1.1)
    axes.set_xlim(-0.6, len(kinds) - 0.4)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xticks(range(len(kinds)), [wrapped(kind, 0.75, TEXT, 2) for kind in kinds], size=TEXT, color=INK)
    axes.tick_params(length=0)
    more = f", the {len(kinds)} named most often" if len(often) > len(kinds) else ""
    axes.set_title(f"Hits of all words for an object{more}; the black line is chance", size=SMALL, color=QUIET)
