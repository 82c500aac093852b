"""Where a captioner looked, word by word (after Xu et al. 2015, figure 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from src.data.manifest import Box
from src.visualize.heat import Look, draw_word, scale, scale_bar
from src.visualize.style import DPI, HEADING, LABEL, QUIET, SMALL, WIDTH, styled, wrapped
from src.visualize.style import height as text_height

COLUMNS = 5
MARGIN, GAP, NAME, FOOT = 0.25, 0.12, 0.32, 0.5
"""Inches round the figure, between panels, above a panel for its word, and below all for the colour scale."""
TALLEST, FLATTEST = 1.35, 0.3
"""Height of a panel in its widths: pictures beyond are fitted in, so that a panorama or a banner stays readable."""
MARKS = "; dashed: where the object is; ✓: the peak, a dot, lies inside"


@styled()
def attention_figure(
    image: Image.Image,
    words: Sequence[str],
    attention: Float[np.ndarray, "word region"],
    rows: int,
    columns: int,
    title: str = "",
    *,
    note: str = "",
    boxes: Sequence[Box] = (),
) -> Figure:
    """The picture, then once more for each word: bright and warm where the decoder looked as it said it.

    All words share one scale, in multiples of an even look at every region, so that a word said without looking
    anywhere in particular stays dim.

    Args:
        image: RGB, of any size; the grid covers all of it.
        attention: weights of each word over the grid's regions, row by row; each word's sum to 1.
        rows, columns: of the grid.
        title: the caption as a sentence, for one.
        note: smaller, below the title.
        boxes: true rectangles; drawn where a word names the object, with the peak and whether it lies inside.

    Raises:
        ValueError: `attention` is not one row per word and one column per region.
    """
    look = Look("", words, attention, rows, columns)
    across = min(COLUMNS, len(words) + 1)
    down = math.ceil((len(words) + 1) / across)
    width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    height = panel_height(image, width)
    heading = wrapped(title, WIDTH - 2 * MARGIN, HEADING, lines=2, bold=True)
    remark = wrapped(note, WIDTH - 2 * MARGIN, SMALL, lines=2)
    top = MARGIN + text_height(heading, HEADING) + text_height(remark, SMALL)
    total = top + down * (NAME + height + GAP) + FOOT
    figure = Figure(figsize=(WIDTH, total))
    figure.text(MARGIN / WIDTH, 1 - MARGIN / total, heading, size=HEADING, weight="bold", va="top")
    figure.text(
        MARGIN / WIDTH, 1 - (MARGIN + text_height(heading, HEADING)) / total, remark, size=SMALL, color=QUIET, va="top"
    )

    shown = fitted(image, width, height)
    heat = scale([look])
    for position in range(len(words) + 1):
        row, column = divmod(position, across)
        left = MARGIN + column * (width + GAP)
        bottom = total - top - (row + 1) * (NAME + height + GAP) + GAP
        axes = figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))
        axes.set_axis_off()
        if position == 0:
            axes.imshow(shown, interpolation="nearest")
        else:
            draw_word(axes, shown, look, position - 1, heat, boxes, LABEL)
    if words:
        scale_bar(figure, heat, MARGIN, 0.3, MARKS if look.points(boxes) else "")
    return figure


def panel_height(image: Image.Image, width: float) -> float:
    """Inches of a panel that is `width` inches wide."""
    return width * float(np.clip(image.height / image.width, FLATTEST, TALLEST))


def fitted(image: Image.Image, width: float, height: float) -> Image.Image:
    """The picture at the size it is drawn, so many inches at the most."""
    return ImageOps.contain(image, (round(width * DPI), round(height * DPI)), Image.Resampling.LANCZOS)
