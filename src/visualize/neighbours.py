"""Images, and those nearest to each: by picture, and by what people say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from src.visualize.style import DPI, HEADING, INK, LABEL, QUIET, SMALL, WIDTH, height, styled, wrapped

SHOWN, ROWS = 4, 5
"""Neighbours of each kind, and images that are asked for theirs."""
MARGIN, GAP, APART = 0.25, 0.1, 0.3
"""Inches round the figure, between neighbours, and between the kinds."""
TOP = 1.3
SIDE = (WIDTH - 2 * MARGIN - 2 * APART - 2 * (SHOWN - 1) * GAP) / (2 * SHOWN + 1)
WORDS = SMALL - 1
LINES = 4


@dataclass(frozen=True)
class Neighbour:
    """RGB picture, what one person wrote, and whether it is near in both ways."""

    picture: Image.Image
    caption: str
    shared: bool = False


@styled()
def neighbours_figure(
    rows: Sequence[tuple[Neighbour, Sequence[Neighbour], Sequence[Neighbour]]], finding: str
) -> Figure:
    """A row per image: itself, its nearest by picture, its nearest by caption; framed those that are near in both ways.

    Args:
        rows: at most SHOWN neighbours of each kind.
        finding: what the frames mean, and how many neighbours have one.
    """
    deep = []
    for one, by_picture, by_caption in rows:
        texts = [_words(neighbour) for neighbour in (one, *by_picture, *by_caption)]
        deep.append(SIDE + 0.06 + max(height(text, WORDS) for text in texts) + 0.12)
    total = TOP + sum(deep) + 0.1
    figure = Figure(figsize=(WIDTH, total))

    def write(text: str, left: float, down: float, **look: Any) -> None:
        figure.text(left / WIDTH, 1 - down / total, text, va="top", **look)

    write("Do images that look alike have captions that mean alike?", MARGIN, MARGIN, size=HEADING, weight="bold")
    write(wrapped(finding, WIDTH - 2 * MARGIN, SMALL, 2), MARGIN, MARGIN + 0.34, size=SMALL, color=QUIET)
    second = MARGIN + SIDE + APART
    third = second + SHOWN * (SIDE + GAP) - GAP + APART
    for text, left in (("An image", MARGIN), ("Nearest by picture", second), ("Nearest by caption", third)):
        write(text, left, TOP - 0.27, size=LABEL, weight="bold")
    down = TOP
    for (one, by_picture, by_caption), taken in zip(rows, deep, strict=True):
        for first, shown in ((MARGIN, [one]), (second, by_picture), (third, by_caption)):
            for place, neighbour in enumerate(shown):
                left = first + place * (SIDE + GAP)
                axes = figure.add_axes((left / WIDTH, 1 - (down + SIDE) / total, SIDE / WIDTH, SIDE / total))
                axes.set_axis_off()
                side = (round(SIDE * DPI),) * 2
                axes.imshow(ImageOps.fit(neighbour.picture, side, Image.Resampling.LANCZOS), interpolation="nearest")
                if neighbour.shared:
                    whole = (0, 0), 1, 1
                    frame = Rectangle(*whole, fill=False, edgecolor=INK, linewidth=5, transform=axes.transAxes)
                    axes.add_patch(frame)
                shade = INK if neighbour is one else QUIET
                write(_words(neighbour), left, down + SIDE + 0.06, size=WORDS, color=shade)
        down += taken
    return figure


def _words(neighbour: Neighbour) -> str:
    return wrapped(neighbour.caption, SIDE, WORDS, LINES)
