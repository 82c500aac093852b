"""A map on which images that are alike lie together: thumbnails, and for each cluster its typical words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.textpath import text_to_path
from PIL import Image, ImageOps

from src.visualize.projections import PCA, TSNE, UMAP, Plane
from src.visualize.style import (
    CLUSTER_COLOURS,
    DPI,
    FONT,
    HEADING,
    LABEL,
    QUIET,
    RULE,
    SMALL,
    TEXT,
    WIDTH,
    height,
    styled,
    wrapped,
)

HEIGHT = 8.4
MARGIN, TOP, FOOT = 0.25, 0.95, 0.45
WIDE, SIDE = 7.7, 2.5
"""Inches across of the large map and of each small one."""
SMALL_MAP = 1.7
THUMBNAIL, MOST_THUMBNAILS = 0.46, 44
"""Inches of a thumbnail's side, and how many there are at most."""
PADDING = 0.06
"""Inches round a label's words."""
STEP, REACH = 0.12, 30
"""Inches between places that are tried for a label, and how many in each direction."""
COVERED = 3.0
"""Inches that a label would rather go than cover as many points as its cluster has."""

Rectangle = tuple[float, float, float, float]
"""Left, bottom, right, top, in inches of the large map."""


def thumbnails(plane: Plane, taken: Sequence[Rectangle], seed: int) -> list[int]:
    """Points whose pictures fit on the map without covering one another or what is `taken`, tried by lot."""
    tall = HEIGHT - TOP - FOOT
    placed, chosen = list(taken), []
    for point in np.random.default_rng(seed).permutation(len(plane)).tolist():
        x, y = _inches(plane[point], WIDE, tall)
        own = _around(x, y, THUMBNAIL + 0.06, THUMBNAIL + 0.06)
        if _inside(own, WIDE, tall) and not any(_meet(own, other) for other in placed):
            placed.append(own)
            chosen.append(point)
        if len(chosen) == MOST_THUMBNAILS:
            break
    return chosen


def label_places(plane: Plane, labels: Int[np.ndarray, " point"], texts: Sequence[str]) -> list[Rectangle]:
    """For each cluster's words a rectangle: near the middle of its points, over few points, and over no other's."""
    tall = HEIGHT - TOP - FOOT
    points = np.array([_inches(point, WIDE, tall) for point in plane])
    placed: list[Rectangle] = []
    for cluster, text in enumerate(texts):
        x, y = _inches(np.median(plane[labels == cluster], axis=0), WIDE, tall)
        wide, high = _size(text)
        members = int((labels == cluster).sum())
        candidates = [
            (math.hypot(right, up) * STEP + COVERED * _covered(points, rectangle) / members, rectangle)
            for right, up in product(range(-REACH, REACH + 1), repeat=2)
            if _inside(rectangle := _around(x + STEP * right, y + STEP * up, wide, high), WIDE, tall)
            and not any(_meet(rectangle, other) for other in placed)
        ]
        placed.append(min(candidates)[1] if candidates else _around(x, y, wide, high))
    return placed


def _covered(points: Float[np.ndarray, "point 2"], rectangle: Rectangle) -> int:
    left, bottom, right, top = rectangle
    inside = (points > (left, bottom)) & (points < (right, top))
    return int(inside.all(axis=1).sum())


@styled()
def map_figure(
    planes: Mapping[str, Plane],
    labels: Int[np.ndarray, " image"],
    words: Sequence[Sequence[str]],
    pictures: Mapping[int, Image.Image],
    title: str,
    note: str,
    findings: Sequence[tuple[str, str]],
) -> Figure:
    """t-SNE large, PCA (and UMAP) small beside it, in the same colours; and what was counted.

    Args:
        planes: as `projections` gives them.
        labels: the cluster of each image.
        words: typical of each cluster; they stand on the large map.
        pictures: of the points that `thumbnails` chose.
        findings: figures with a sentence each, for the column at the side.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))

    def write(text: str, left: float, down: float, **look: Any) -> None:
        figure.text(left / WIDTH, 1 - down / HEIGHT, text, va="top", **look)

    def panel(left: float, down: float, wide: float, tall: float) -> Axes:
        axes = figure.add_axes((left / WIDTH, 1 - (down + tall) / HEIGHT, wide / WIDTH, tall / HEIGHT))
        axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(True)
        return axes

    write(title, MARGIN, MARGIN, size=HEADING, weight="bold")
    write(wrapped(note, WIDTH - 2 * MARGIN, SMALL, 2), MARGIN, MARGIN + 0.34, size=SMALL, color=QUIET)
    tall = HEIGHT - TOP - FOOT
    large = panel(MARGIN, TOP, WIDE, tall)
    shades = np.array(CLUSTER_COLOURS)[labels]
    place = np.array([_inches(point, WIDE, tall) for point in planes[TSNE]]) / (WIDE, tall)
    large.scatter(place[:, 0], place[:, 1], s=13, c=shades, linewidths=0)
    for point, picture in pictures.items():
        large.add_artist(_thumbnail(picture, place[point], shades[point]))
    texts = [label(own) for own in words]
    for cluster, (left, bottom, right, top) in enumerate(label_places(planes[TSNE], labels, texts)):
        large.text(
            (left + right) / 2 / WIDE, (bottom + top) / 2 / tall, texts[cluster], ha="center", va="center", size=TEXT,
            weight="bold", zorder=6,
            bbox={"boxstyle": f"round,pad={PADDING * 72 / TEXT / 2}", "facecolor": "white", "linewidth": 2,
                  "edgecolor": CLUSTER_COLOURS[cluster]},
        )  # fmt: skip
    write(f"{TSNE}: near is alike, far apart says little", MARGIN, HEIGHT - FOOT + 0.06, size=SMALL, color=QUIET)

    left, down = WIDTH - MARGIN - SIDE, TOP
    for name, remark in ((PCA, "along the most variance"), (UMAP, "near is alike")):
        if name in planes:
            small = panel(left, down, SIDE, SMALL_MAP)
            inset = 0.04 + 0.92 * planes[name]
            small.scatter(inset[:, 0], inset[:, 1], s=4, c=shades, linewidths=0)
            write(f"{name}: {remark}", left, down + SMALL_MAP + 0.06, size=SMALL, color=QUIET)
            down += SMALL_MAP + 0.42
        elif name == UMAP:
            write(f"{UMAP} needs `pip install umap-learn`", left, down - 0.18, size=SMALL, color=QUIET)
            down += 0.14
    for number, text in findings:
        write(number, left, down, size=LABEL + 2, weight="bold")
        text = wrapped(text, SIDE, SMALL, 5)
        write(text, left, down + 0.27, size=SMALL, color=QUIET)
        down += 0.3 + height(text, SMALL) + 0.1
    return figure


def label(words: Sequence[str]) -> str:
    """What stands on the map for a cluster."""
    return ", ".join(words) or "(nothing of its own)"


def _thumbnail(picture: Image.Image, place: Float[np.ndarray, " 2"], shade: str) -> AnnotationBbox:
    side = round(THUMBNAIL * DPI)
    image = OffsetImage(np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS)), zoom=72 / DPI)
    frame = {"edgecolor": shade, "linewidth": 3.4, "facecolor": RULE}
    return AnnotationBbox(image, tuple(place), frameon=True, pad=0, bboxprops=frame, zorder=4)


def _inches(point: Float[np.ndarray, " 2"], wide: float, tall: float) -> tuple[float, float]:
    """Where a point of the unit square lies on a map that keeps a border free."""
    border = THUMBNAIL / 2 + 0.08
    return border + float(point[0]) * (wide - 2 * border), border + float(point[1]) * (tall - 2 * border)


def _size(text: str) -> tuple[float, float]:
    font = FontProperties(family=FONT, size=TEXT, weight="bold")
    wide, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return wide / 72 + 2 * PADDING + 0.06, TEXT * 1.2 / 72 + 2 * PADDING + 0.06


def _around(x: float, y: float, wide: float, high: float) -> Rectangle:
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


def _inside(rectangle: Rectangle, wide: float, tall: float) -> bool:
    left, bottom, right, top = rectangle
    return left >= 0 and bottom >= 0 and right <= wide and top <= tall


def _meet(first: Rectangle, second: Rectangle) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
