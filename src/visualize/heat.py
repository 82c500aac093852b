"""A picture, dim where a word did not look and warm where it did: what every figure of attention is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from src.data.manifest import Box
from src.metrics.grounding import Point, points
from src.visualize.style import QUIET, SMALL

HEAT = "inferno"
DIMMED, VEILED = 0.5, 0.6
"""Brightness left of what was not looked at, and how much of the strongest look is heat instead of picture."""
BEND = 0.7
"""Exponent of the colour scale: below 1 it spends more of its colours on faint looks."""
LONG_WORD = 20
"""Letters that fit above a panel; a longer word is set smaller."""
HIT, MISS = "✓", "✗"


@dataclass(frozen=True)
class Look:
    """What a model said of a picture, and where it looked for each word.

    Attributes:
        model: LSTM or GRU; empty where nobody asks.
        attention: weights of each word over the grid's regions, row by row; each word's sum to 1.
        rows, columns: of the grid.

    Raises:
        ValueError: `attention` is not one row per word and one column per region.
    """

    model: str
    words: Sequence[str]
    attention: Float[np.ndarray, "word region"]
    rows: int
    columns: int
    sentence: str = ""

    def __post_init__(self) -> None:
        if self.attention.shape != (len(self.words), self.rows * self.columns):
            raise ValueError(
                f"attention has shape {self.attention.shape}: {len(self.words)} words over {self.rows} x "
                f"{self.columns} regions need {(len(self.words), self.rows * self.columns)}"
            )

    @property
    def heat(self) -> Float[np.ndarray, "word row column"]:
        """Attention in multiples of an even look at every region."""
        return self.attention.reshape(-1, self.rows, self.columns) * (self.rows * self.columns)

    def points(self, boxes: Sequence[Box]) -> list[Point]:
        """The words that name an object with a box, and whether they looked there."""
        return points(self.words, self.attention, boxes, self.rows, self.columns)


def scale(looks: Sequence[Look]) -> PowerNorm:
    """One scale for all words of all looks, so that a word said without looking anywhere in particular stays dim."""
    return PowerNorm(BEND, 0, max(2.0, *(float(look.heat.max(initial=0.0)) for look in looks)))


def draw_word(
    axes: Axes, shown: Image.Image, look: Look, word: int, heat: PowerNorm, boxes: Sequence[Box], points: float
) -> None:
    """One word over the picture; where it names an object, the true box, the peak, and whether they meet.

    Args:
        shown: RGB, as large as it is drawn.
        word: its place in the caption.
        points: size of the word above the picture.
    """
    said = look.words[word]
    axes.imshow(looked_at(shown, look.heat[word], heat), interpolation="nearest")
    named = next((point for point in look.points(boxes) if point.word == word), None)
    title = f"{said} {HIT if named.hit else MISS}" if named else said
    axes.set_title(title, size=points * min(1, LONG_WORD / len(title)), weight="bold", pad=0.4 * points)
    if named:
        for box in boxes:
            if said in box.words:
                axes.add_patch(outline(box, shown))
        mark_peak(axes, shown, look, named)


def mark_peak(axes: Axes, shown: Image.Image, look: Look, point: Point) -> None:
    """A dot in the region that has the most attention, a cross where that is not where the object is."""
    row, column = divmod(point.region, look.columns)
    x, y = (column + 0.5) / look.columns * shown.width, (row + 0.5) / look.rows * shown.height
    for shade, more in (("black", 2.0), ("white", 0.0)):
        marker, size, edge = ("o", 5.5, 0.0) if point.hit else ("x", 7.0, 2.0)
        axes.plot([x], [y], marker, color=shade, markersize=size + more, markeredgewidth=edge + more, clip_on=False)
    axes.set_xlim(-0.5, shown.width - 0.5)
    axes.set_ylim(shown.height - 0.5, -0.5)


def looked_at(image: Image.Image, look: Float[np.ndarray, "row column"], heat: PowerNorm) -> UInt8[np.ndarray, "y x 3"]:
    """The picture without its colours, dim where `look` is weak, bright below a warm veil where it is strong."""
    warm = np.asarray(Image.fromarray(look.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC))
    strength = np.asarray(heat(warm.clip(0, heat.vmax)))[..., None]  # bicubic overshoots
    grey = np.asarray(ImageOps.grayscale(image), np.float32)[..., None] / 255
    lit = grey * (DIMMED + (1 - DIMMED) * strength)
    veil = matplotlib.colormaps[HEAT](strength[..., 0])[..., :3]
    opacity = VEILED * strength
    mixed: UInt8[np.ndarray, "y x 3"] = ((lit * (1 - opacity) + veil * opacity) * 255).round().astype(np.uint8)
    return mixed


def outline(box: Box, image: Image.Image, shade: str = "white") -> Rectangle:
    """The box, dashed, in the picture's pixels."""
    corner = (box.left * image.width, box.top * image.height)
    size = ((box.right - box.left) * image.width, (box.bottom - box.top) * image.height)
    return Rectangle(corner, *size, fill=False, edgecolor=shade, linewidth=1.4, linestyle=(0, (3, 2)))


def scale_bar(figure: Figure, heat: PowerNorm, left: float, bottom: float, addition: str = "") -> None:
    """What the colours mean: a bar with a sentence beside it, `left` and `bottom` in inches of the figure."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, 1.6 / width, 0.1 / height))
    bar = figure.colorbar(ScalarMappable(heat, HEAT), cax=axes, orientation="horizontal", ticks=[1, heat.vmax])
    bar.set_ticklabels(["1×", f"{heat.vmax:.0f}×"])
    bar.outline.set_visible(False)
    bar.minorticks_off()
    axes.tick_params(length=0, pad=2)
    text = f"attention, in multiples of an even look{addition}"
    figure.text((left + 1.85) / width, (bottom + 0.05) / height, text, size=SMALL, color=QUIET, va="center")
