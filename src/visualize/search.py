"""What a search for better parameters was like: how it went, which parameters matter, what its best trials share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from src.visualize.style import HEADING, INK, LABEL, QUIET, RULE, SMALL, WIDTH, styled

BEST, COMPLETE, PRUNED = "#0072B2", "#56B4E9", "#9AA2AB"
"""Of Okabe and Ito's palette; what was given up steps back."""
HEIGHT = 5.0
MOST_UNBROKEN = 7
"""Parameters whose names have room side by side; more names are broken at each underscore."""


@dataclass(frozen=True)
class Tried:
    """A trial as figures show it.

    Attributes:
        curve: validation CIDEr by epoch.
        parameters: those that were searched, by full name.
    """

    number: int
    outcome: Literal["complete", "pruned"]
    value: float
    curve: Mapping[int, float]
    parameters: Mapping[str, bool | int | float | str]


@styled()
def history_figure(trials: Sequence[Tried]) -> Figure:
    """Each trial's validation CIDEr and the best complete one so far, over the trials."""
    figure, axes = _figure("What each trial reached")
    for outcome, shade in (("pruned", PRUNED), ("complete", COMPLETE)):
        chosen = [trial for trial in trials if trial.outcome == outcome]
        axes.scatter([trial.number for trial in chosen], [trial.value for trial in chosen], color=shade, s=36)
    complete = [trial for trial in trials if trial.outcome == "complete"]
    if complete:
        best = np.maximum.accumulate([trial.value for trial in complete])
        numbers = [trial.number for trial in complete]
        axes.step([*numbers, trials[-1].number], [*best, best[-1]], where="post", color=BEST)
    _key(axes, ("best so far", BEST), ("complete", COMPLETE), ("pruned, when it was", PRUNED))
    axes.set_xlabel("trial")
    axes.set_ylabel("validation CIDEr")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled()
def epochs_figure(trials: Sequence[Tried]) -> Figure:
    """Validation CIDEr of all trials epoch by epoch; pruned ones end early."""
    figure, axes = _figure("Epoch by epoch")
    best = _best(trials)
    for trial in sorted(trials, key=lambda trial: (trial is best, trial.outcome == "complete")):
        shade = BEST if trial is best else COMPLETE if trial.outcome == "complete" else PRUNED
        axes.plot(
            list(trial.curve), list(trial.curve.values()), color=shade, linewidth=2.5 if trial is best else 1.2,
            marker="o", markersize=3,
        )  # fmt: skip
    _key(axes, (f"the best, trial {best.number}", BEST), ("complete", COMPLETE), ("pruned", PRUNED))
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation CIDEr")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled()
def importance_figure(importances: Mapping[str, float], trials: int) -> Figure:
    """The share of the complete trials' differences that each parameter explains.

    Args:
        trials: how many are complete: of a few, shares say little.
    """
    figure, axes = _figure("Which parameters matter", left=0.22)
    names = sorted(importances, key=importances.__getitem__)
    axes.barh(names, [importances[name] for name in names], color=BEST, height=0.6)
    for row, name in enumerate(names):
        axes.annotate(
            f"{importances[name]:.0%}", (importances[name], row), (4, 0), textcoords="offset points", va="center"
        )
    axes.grid(visible=False)
    axes.set_xlim(0, 1.15 * max(importances.values(), default=1.0) or 1.0)
    axes.set_xlabel(f"share of the variance of validation CIDEr over {trials} complete trials (fANOVA)")
    axes.tick_params(axis="y", labelcolor=INK, labelsize=LABEL)
    return figure


@styled()
def parallel_figure(trials: Sequence[Tried], logarithmic: frozenset[str]) -> Figure:
    """Every complete trial as a line through its parameters' values to what it reached; the best one stands out.

    Args:
        logarithmic: parameters drawn over orders of magnitude.
    """
    figure, axes = _figure("What the best trials share", left=0.04, right=0.94, bottom=0.16)
    complete = [trial for trial in trials if trial.outcome == "complete"]
    names = list(dict.fromkeys(name for trial in complete for name in trial.parameters))
    scales = [_Scale([trial.parameters.get(name) for trial in complete], name in logarithmic) for name in names]
    scales.append(_Scale([trial.value for trial in complete], logarithmic=False))
    best = _best(complete)
    low, high = min(trial.value for trial in complete), max(trial.value for trial in complete)
    for trial in sorted(complete, key=lambda trial: trial.value):
        values = [*(trial.parameters.get(name) for name in names), trial.value]
        places = [scale.place(value) for scale, value in zip(scales, values, strict=True)]
        share = (trial.value - low) / (high - low) if high > low else 1.0
        axes.plot(
            range(len(places)), places, color=BEST if trial is best else COMPLETE,
            alpha=1.0 if trial is best else 0.2 + 0.6 * share, linewidth=3 if trial is best else 1.4,
        )  # fmt: skip
    for column, scale in enumerate(scales):
        axes.axvline(column, color=RULE, linewidth=1, zorder=0)
        for place, text in scale.ticks():
            axes.annotate(
                text, (column, place), (4, 0), textcoords="offset points", va="center", size=SMALL, color=QUIET
            )
    labels = [name.replace(".", ".\n") for name in names]
    if len(names) > MOST_UNBROKEN:
        labels = [label.replace("_", "_\n") for label in labels]
    axes.set_xticks(range(len(scales)), [*labels, "validation\nCIDEr"])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


class _Scale:
    """Values of one parameter between 0 and 1; what a trial did not have lies below."""

    ABSENT = -0.12

    def __init__(self, values: Sequence[bool | int | float | str | None], logarithmic: bool) -> None:
        self._logarithmic = logarithmic
        present = [value for value in values if value is not None]
        self._absent = len(present) < len(values)
        self._names = None if all(_is_number(value) for value in present) else sorted(set(map(str, present)))
        self._ends = (min(present), max(present)) if self._names is None else ("", "")

    def place(self, value: bool | int | float | str | None) -> float:
        if value is None:
            return self.ABSENT
        if self._names is not None:
            return self._names.index(str(value)) / max(1, len(self._names) - 1)
        low, high, here = (self._measure(number) for number in (*self._ends, value))
        return (here - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        named = self._names if self._names is not None else list(dict.fromkeys(self._ends))
        texts = [(self.place(value), value if isinstance(value, str) else f"{value:.3g}") for value in named]
        return [*texts, (self.ABSENT, "not searched")] if self._absent else texts

    def _measure(self, value: bool | int | float | str) -> float:
        return math.log(float(value)) if self._logarithmic else float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _best(trials: Sequence[Tried]) -> Tried:
    return max(trials, key=lambda trial: (trial.outcome == "complete", trial.value))


def _figure(title: str, left: float = 0.07, right: float = 0.98, bottom: float = 0.13) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, HEIGHT))
    figure.suptitle(title, x=0.02, y=0.97, ha="left", size=HEADING, weight="bold")
    axes = figure.add_axes((left, bottom, right - left, 0.87 - bottom))
    axes.tick_params(length=0)
    return figure, axes


def _key(axes: Axes, *entries: tuple[str, str]) -> None:
    """What the colours mean, over the axes: below the title no point can lie under it."""
    shades = [shade for _, shade in entries]
    axes.legend(
        [Line2D([], [], color=shade, marker="o", linestyle="") for shade in shades], [name for name, _ in entries],
        loc="lower right", bbox_to_anchor=(1, 1), ncols=len(entries), labelcolor=shades, frameon=False,
        handletextpad=0, borderaxespad=0, prop={"weight": "bold"},
    )  # fmt: skip
