"""What training was like: losses, validation CIDEr, learning rate, epoch by epoch, and what the controller decided."""

from __future__ import annotations

import csv
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.errors import MissingFile, UserError
from src.visualize.style import HEADING, INK, LABEL, QUIET, SMALL, TEXT, WIDTH, colour, height, styled, wrapped

Curve = dict[int, float]
"""Value by epoch; an epoch may be missing."""

HEIGHT = 4.3
MOST_DECISIONS = len(string.ascii_uppercase)
"""Different ones that are marked; they have a letter each."""
LETTER = 0.13
"""Inches that a letter above a chart takes; one that would cover the one before is left out."""


def read_curves(path: Path) -> dict[str, Curve]:
    """The curves of reports/curves.csv by name; a blank cell is no point.

    Raises:
        UserError: the file is missing, or is no table of numbers with a column `step`.
    """
    if not path.exists():
        raise MissingFile(f"{path} is missing: run `dvc repro train`")
    curves: dict[str, Curve] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                step = int(row.pop("step"))
                for name, value in row.items():
                    if value:
                        curves.setdefault(name, {})[step] = float(value)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a table of curves ({error}): run `dvc repro -f train`") from None
    return curves


def lettered(decisions: Sequence[tuple[int, str]]) -> dict[str, list[int]]:
    """Text -> epochs: each different decision once, in the order they were first taken, the earliest so many."""
    epochs: dict[str, list[int]] = {}
    for epoch, text in decisions:
        epochs.setdefault(text, []).append(epoch)
    return dict(list(epochs.items())[:MOST_DECISIONS])


@styled()
def curves_figure(curves: Mapping[str, Curve], model: str, decisions: Sequence[tuple[int, str]] = ()) -> Figure:
    """Loss, validation CIDEr with its best epoch marked, and learning rate, side by side over epochs.

    Args:
        curves: as `read_curves` gives them: train_loss, val_loss (nats per word), val_CIDEr, learning_rate.
        model: LSTM or GRU; lends its colour.
        decisions: epoch after which the controller decided something, and what; marked by letters that are explained
            below.

    Raises:
        KeyError: one of these curves is missing.
    """
    marks = lettered(decisions)
    lines = [wrapped(_explained(text, epochs), WIDTH - 1.2, TEXT, 2) for text, epochs in marks.items()]
    below = 0.45 + sum(height(line, TEXT) for line in lines) if lines else 0.0
    total = HEIGHT + below
    figure = Figure(figsize=(WIDTH, total))
    figure.text(0.055, 1 - 0.12 / total, f"How the {model} was trained", size=HEADING, weight="bold", va="top")
    loss, cider, rate = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.055, right=0.98, top=1 - 1.0 / total, bottom=(below + 0.56) / total, wspace=0.26)

    _draw(loss, curves["train_loss"], QUIET)
    _draw(loss, curves["val_loss"], colour(model))
    loss.set_title("Loss, nats per word", pad=20)
    # Both fall from the upper left: the upper right is free. Training's loss has dropout and label smoothing in it.
    for place, (name, shade) in enumerate((("training objective", QUIET), ("validation", colour(model)))):
        loss.text(
            0.99, 0.97 - 0.075 * place, name, transform=loss.transAxes, ha="right", va="top",
            color=shade, weight="bold",
            bbox={"facecolor": "white", "linewidth": 0, "pad": 1},
        )  # fmt: skip

    _draw(cider, curves["val_CIDEr"], colour(model))
    cider.set_title("Validation CIDEr", pad=20)
    cider.set_ylim(bottom=0)
    _mark_best(cider, curves["val_CIDEr"], colour(model))

    _draw(rate, curves["learning_rate"], INK)
    rate.set_title("Learning rate", pad=20)
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="plain")

    for axes in (loss, cider, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.tick_params(length=0)
        _mark_decisions(axes, marks)
    down = HEIGHT + 0.1
    if lines:
        figure.text(0.055, 1 - down / total, "What the controller decided", size=LABEL, weight="bold", va="top")
        down += 0.3
    for letter, line in zip(string.ascii_uppercase, lines, strict=False):
        figure.text(0.055, 1 - down / total, letter, size=TEXT, weight="bold", va="top")
        figure.text(0.075, 1 - down / total, line, size=TEXT, va="top")
        down += height(line, TEXT)
    return figure


def _explained(text: str, epochs: Sequence[int]) -> str:
    where = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {', '.join(map(str, epochs))}"
    return f"{text} ({where})"


def _mark_decisions(axes: Axes, marks: Mapping[str, Sequence[int]]) -> None:
    """A thin line where something was decided, its letters above."""
    letters: dict[int, str] = {}
    for letter, epochs in zip(string.ascii_uppercase, marks.values(), strict=False):
        for epoch in epochs:
            letters[epoch] = letters.get(epoch, "") + letter
    inches = axes.get_position().width * WIDTH
    low, high = axes.get_xlim()
    free = low
    for epoch in sorted(letters):
        axes.axvline(epoch, color=QUIET, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0.5)
        half = len(letters[epoch]) * LETTER / 2 * (high - low) / inches
        if epoch - half >= free:
            axes.annotate(
                letters[epoch], (epoch, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", size=SMALL, color=INK, weight="bold",
            )  # fmt: skip
            free = epoch + half


def _draw(axes: Axes, curve: Curve, shade: str) -> None:
    axes.plot(list(curve), list(curve.values()), color=shade, marker="o" if len(curve) == 1 else None)


def _mark_best(axes: Axes, curve: Curve, shade: str) -> None:
    best = max(curve, key=curve.__getitem__)  # of equals the first, as training chose
    axes.axvline(best, color=shade, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    axes.plot([best], [curve[best]], "o", markersize=8, color=shade, markeredgecolor="white", markeredgewidth=1.5)
    # Below the curve, on the side of the line that has more room.
    right = 2 * best > min(curve) + max(curve)
    axes.annotate(
        f"{curve[best]:.3f}\nepoch {best}", (best, 0), (-6 if right else 6, 6), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="right" if right else "left", color=shade, size=LABEL, weight="bold",
        bbox={"facecolor": "white", "linewidth": 0, "pad": 1},
    )  # fmt: skip
