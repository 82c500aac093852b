"""Two models before the same picture: what each said, and where each looked for its words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from src.data.manifest import Box
from src.visualize.attention import FOOT, GAP, MARGIN, MARKS, fitted, panel_height
from src.visualize.heat import Look, draw_word, scale, scale_bar
from src.visualize.style import QUIET, SMALL, TEXT, WIDTH, colour, height, styled, wrapped

MOST_ACROSS, FEWEST_ACROSS = 6, 5
"""Panels in a row: as few rows as there must be, filled as evenly as may be."""
LEFT = 2.6
"""Inches of the picture at the side, as everybody sees it."""
AIR = 0.3
NAME = 0.27
CAPTION = 12.0
"""Points of a model's caption."""


@styled()
def beside_figure(
    image: Image.Image, looks: Sequence[Look], reference: str = "", *, boxes: Sequence[Box] = ()
) -> Figure:
    """The picture, beside it a block for each model: its caption in its colour, and each word over the picture.

    All words of all models share one scale, in multiples of an even look, whatever grids the models have.

    Args:
        image: RGB, of any size; every grid covers all of it.
        looks: at least one, each with its model and its sentence.
        reference: what a person wrote.
        boxes: true rectangles; drawn where a word names the object, with the peak and whether it lies inside.
    """
    longest = max(len(look.words) for look in looks)
    across = max(FEWEST_ACROSS, math.ceil(longest / max(1, math.ceil(longest / MOST_ACROSS))))
    wide = (WIDTH - 2 * MARGIN - LEFT - AIR - (across - 1) * GAP) / across
    side = panel_height(image, wide)
    picture = panel_height(image, LEFT)
    captions = [
        wrapped(f"{look.model}: {look.sentence}", WIDTH - 2 * MARGIN - LEFT - AIR, CAPTION, 2, bold=True)
        for look in looks
    ]
    high = [
        height(caption, CAPTION) + max(1, math.ceil(len(look.words) / across)) * (NAME + side + GAP)
        for caption, look in zip(captions, looks, strict=True)
    ]
    written = wrapped(reference, LEFT, TEXT, 5)
    beside = picture + 0.1 + height("wrote", SMALL) + height(written, TEXT)
    total = MARGIN + max(sum(high) + AIR * (len(looks) - 1), beside) + GAP + FOOT
    figure = Figure(figsize=(WIDTH, total))

    def write(text: str, left: float, down: float, **look: Any) -> None:
        figure.text(left / WIDTH, 1 - down / total, text, va="top", **look)

    axes = figure.add_axes((MARGIN / WIDTH, 1 - (MARGIN + picture) / total, LEFT / WIDTH, picture / total))
    axes.set_axis_off()
    axes.set_anchor("NW")
    axes.imshow(fitted(image, LEFT, picture), interpolation="nearest")
    if written:
        write("A person wrote", MARGIN, MARGIN + picture + 0.1, size=SMALL, color=QUIET)
        write(written, MARGIN, MARGIN + picture + 0.1 + height("wrote", SMALL), size=TEXT)

    shown, heat = fitted(image, wide, side), scale(looks)
    start = MARGIN + LEFT + AIR
    down = MARGIN
    for look, caption, taken in zip(looks, captions, high, strict=True):
        write(caption, start, down, size=CAPTION, weight="bold", color=colour(look.model))
        for word in range(len(look.words)):
            row, column = divmod(word, across)
            left = start + column * (wide + GAP)
            under = down + height(caption, CAPTION) + row * (NAME + side + GAP) + NAME + side
            panel = figure.add_axes((left / WIDTH, 1 - under / total, wide / WIDTH, side / total))
            panel.set_axis_off()
            draw_word(panel, shown, look, word, heat, boxes, TEXT)
        down += taken + AIR
    named = any(look.points(boxes) for look in looks)
    scale_bar(figure, heat, MARGIN, 0.3, MARKS if named else "")
    return figure
