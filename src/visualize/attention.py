"""Where a captioner looked, word by word (after Xu et al. 2015, figure 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from src.data.manifest import Box
from src.visualize.style import DPI, HEADING, LABEL, QUIET, SMALL, WIDTH, styled, wrapped
from src.visualize.style import height as text_height

COLUMNS = 5
MARGIN, GAP, NAME, FOOT = 0.25, 0.12, 0.32, 0.5
"""Inches round the figure, between panels, above a panel for its word, and below all for the colour scale."""
TALLEST, FLATTEST = 1.35, 0.3
"""Height of a panel in its widths: pictures beyond are fitted in, so that a panorama or a banner stays readable."""
LONG_WORD = 20
"""Letters that fit above a panel; a longer word is set smaller."""
HEAT = "inferno"
DIMMED, VEILED = 0.5, 0.6
"""Brightness left of what was not looked at, and how much of the strongest look is heat instead of picture."""
BEND = 0.7
"""Exponent of the colour scale: below 1 it spends more of its colours on faint looks."""


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
        boxes: true rectangles; drawn where a word names the object.

    Raises:
        ValueError: `attention` is not one row per word and one column per region.
    """
    if attention.shape != (len(words), rows * columns):
        raise ValueError(
            f"attention has shape {attention.shape}: {len(words)} words over {rows} x {columns} regions "
            f"need {(len(words), rows * columns)}"
        )
    across = min(COLUMNS, len(words) + 1)
    down = math.ceil((len(words) + 1) / across)
    width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    height = width * float(np.clip(image.height / image.width, FLATTEST, TALLEST))
    heading = wrapped(title, WIDTH - 2 * MARGIN, HEADING, lines=2, bold=True)
    remark = wrapped(note, WIDTH - 2 * MARGIN, SMALL, lines=2)
    top = MARGIN + text_height(heading, HEADING) + text_height(remark, SMALL)
    total = top + down * (NAME + height + GAP) + FOOT
    figure = Figure(figsize=(WIDTH, total))
    figure.text(MARGIN / WIDTH, 1 - MARGIN / total, heading, size=HEADING, weight="bold", va="top")
    figure.text(
        MARGIN / WIDTH, 1 - (MARGIN + text_height(heading, HEADING)) / total, remark, size=SMALL, color=QUIET, va="top"
    )

    shown = ImageOps.contain(image, (round(width * DPI), round(height * DPI)), Image.Resampling.LANCZOS)
    looks = attention.reshape(-1, rows, columns) * (rows * columns)
    strongest = max(2.0, float(looks.max(initial=0.0)))
    scale = PowerNorm(BEND, 0, strongest)
    for position in range(len(words) + 1):
        row, column = divmod(position, across)
        left = MARGIN + column * (width + GAP)
        bottom = total - top - (row + 1) * (NAME + height + GAP) + GAP
        axes = figure.add_axes((left / WIDTH, bottom / total, width / WIDTH, height / total))
        axes.set_axis_off()
        if position == 0:
            axes.imshow(shown, interpolation="nearest")
            continue
        word = words[position - 1]
        axes.imshow(_looked_at(shown, looks[position - 1], scale), interpolation="nearest")
        axes.set_title(word, size=LABEL * min(1, LONG_WORD / len(word)), weight="bold", pad=5)
        for box in boxes:
            if word in (box.name, *box.words):
                axes.add_patch(_outline(box, shown))
    if words:
        _legend(figure, scale, total, "; dashed: where the object is" if boxes else "")
    return figure


def _looked_at(
    image: Image.Image, look: Float[np.ndarray, "row column"], scale: PowerNorm
) -> UInt8[np.ndarray, "y x 3"]:
    """The picture without its colours, dim where `look` is weak, bright below a warm veil where it is strong."""
    heat = np.asarray(Image.fromarray(look.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC))
    strength = np.asarray(scale(heat.clip(0, scale.vmax)))[..., None]  # bicubic overshoots
    grey = np.asarray(ImageOps.grayscale(image), np.float32)[..., None] / 255
    lit = grey * (DIMMED + (1 - DIMMED) * strength)
    veil = matplotlib.colormaps[HEAT](strength[..., 0])[..., :3]
    opacity = VEILED * strength
    mixed: UInt8[np.ndarray, "y x 3"] = ((lit * (1 - opacity) + veil * opacity) * 255).round().astype(np.uint8)
    return mixed


def _outline(box: Box, image: Image.Image) -> Rectangle:
    corner = (box.left * image.width, box.top * image.height)
    size = ((box.right - box.left) * image.width, (box.bottom - box.top) * image.height)
    return Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.4, linestyle=(0, (3, 2)))


def _legend(figure: Figure, scale: PowerNorm, total: float, addition: str) -> None:
    axes = figure.add_axes((MARGIN / WIDTH, 0.3 / total, 1.6 / WIDTH, 0.1 / total))
    bar = figure.colorbar(ScalarMappable(scale, HEAT), cax=axes, orientation="horizontal", ticks=[1, scale.vmax])
    bar.set_ticklabels(["1×", f"{scale.vmax:.0f}×"])
    bar.outline.set_visible(False)
    bar.minorticks_off()
    axes.tick_params(length=0, pad=2)
    figure.text(
        (MARGIN + 1.85) / WIDTH,
        0.35 / total,
        f"attention, in multiples of an even look{addition}",
        size=SMALL,
        color=QUIET,
        va="center",
    )
