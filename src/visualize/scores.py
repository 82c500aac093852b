"""The metrics of every model on the test images, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.visualize.style import HEADING, INK, LABEL, QUIET, SMALL, TEXT, WIDTH, colour, styled

ACROSS = 5
TOP, HIGH, MARGIN = 1.15, 2.35, 0.25
"""Inches above the charts, of a chart with its names, and round the figure."""
NAMES = {"semantic_similarity": "Semantic similarity", "ROUGE": "ROUGE-L"}


@styled()
def scores_figure(models: Mapping[str, Mapping[str, float]], comparison: Mapping[str, Any]) -> Figure:
    """A small chart per metric, a bar per model from zero, its interval as a line; below, the first pair's difference.

    Args:
        models: model -> metric -> figure; a model may lack some.
        comparison: as in reports/comparison.json: intervals by model and metric, pairs, level, images.
    """
    intervals = comparison["intervals"]
    metrics = list(dict.fromkeys(metric for of_model in intervals.values() for metric in of_model))
    rows = math.ceil(len(metrics) / ACROSS)
    total = TOP + rows * HIGH + 0.1
    figure = Figure(figsize=(WIDTH, total))
    figure.text(
        MARGIN / WIDTH, 1 - MARGIN / total, f"{_listed(list(models))} on {comparison['images']:,} test images",
        size=HEADING, weight="bold", va="top",
    )  # fmt: skip
    note = f"Lines: {comparison['level']:.0%} intervals, by bootstrap over the images. More is better."
    if len(models) > 1:
        note += " p: how likely such a difference is between equals (paired randomisation)."
    figure.text(MARGIN / WIDTH, 1 - (MARGIN + 0.34) / total, note, size=SMALL, color=QUIET, va="top")
    pairs = {pair["metric"]: pair for pair in reversed(comparison.get("pairs", []))}
    wide = (WIDTH - 2 * MARGIN) / ACROSS
    for position, metric in enumerate(metrics):
        row, column = divmod(position, ACROSS)
        left, down = MARGIN + column * wide, TOP + row * HIGH
        axes = figure.add_axes(
            (left / WIDTH, 1 - (down + HIGH - 0.85) / total, (wide - 0.3) / WIDTH, (HIGH - 1.15) / total)
        )
        present = [name for name in models if metric in models[name]]
        _bars(axes, metric, {name: models[name][metric] for name in present}, intervals)
        if pair := pairs.get(metric):
            figure.text(
                left / WIDTH, 1 - (down + HIGH - 0.52) / total, _difference(pair), size=SMALL - 1, color=QUIET, va="top"
            )
    return figure


def _bars(
    axes: Axes, metric: str, figures: Mapping[str, float], intervals: Mapping[str, Mapping[str, Sequence[float]]]
) -> None:
    for place, (model, value) in enumerate(figures.items()):
        axes.bar(place, value, width=0.66, color=colour(model))
        low, high = intervals.get(model, {}).get(metric, (value, value))
        axes.plot([place, place], [low, high], color=INK, linewidth=1.6)
        axes.text(
            place, max(value, high), f"{value:.3f}" if value < 10 else f"{value:.1f}", ha="center", va="bottom",
            size=TEXT, color=colour(model), weight="bold",
        )  # fmt: skip
    axes.set_title(NAMES.get(metric, metric), size=LABEL, pad=14)
    axes.set_xlim(-0.5, max(2, len(figures)) - 0.5)
    axes.set_xticks(range(len(figures)), list(figures), size=TEXT)
    for tick, model in zip(axes.get_xticklabels(), figures, strict=True):
        tick.set_color(colour(model))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)


def _difference(pair: Mapping[str, Any]) -> str:
    odds = "p < 0.001" if pair["p"] < 0.001 else f"p = {pair['p']:.2g}"
    return f"{pair['first']} − {pair['second']}  {pair['difference']:+.3f}, {odds}".replace("+-", "−")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
