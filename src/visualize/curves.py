"""What training was like: losses, validation CIDEr, learning rate, epoch by epoch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.errors import MissingFile, UserError
from src.visualize.style import HEADING, INK, LABEL, QUIET, WIDTH, colour, styled

Curve = dict[int, float]
"""Value by epoch; an epoch may be missing."""

HEIGHT = 4.2


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


@styled()
def curves_figure(curves: Mapping[str, Curve], model: str) -> Figure:
    """Loss, validation CIDEr with its best epoch marked, and learning rate, side by side over epochs.

    Args:
        curves: as `read_curves` gives them: train_loss, val_loss (nats per word), val_CIDEr, learning_rate.
        model: LSTM or GRU; lends its colour.

    Raises:
        KeyError: one of these curves is missing.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT))
    figure.suptitle(f"How the {model} was trained", x=0.055, y=0.97, ha="left", size=HEADING, weight="bold")
    loss, cider, rate = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.055, right=0.98, top=0.8, bottom=0.13, wspace=0.26)

    _draw(loss, curves["train_loss"], QUIET)
    _draw(loss, curves["val_loss"], colour(model))
    loss.set_title("Loss, nats per word")
    # Both fall from the upper left: the upper right is free. Training's loss has dropout and label smoothing in it.
    for line, (name, shade) in enumerate((("training objective", QUIET), ("validation", colour(model)))):
        loss.text(1, 1 - 0.075 * line, name, transform=loss.transAxes, ha="right", va="top", color=shade, weight="bold")

    _draw(cider, curves["val_CIDEr"], colour(model))
    cider.set_title("Validation CIDEr")
    cider.set_ylim(bottom=0)
    _mark_best(cider, curves["val_CIDEr"], colour(model))

    _draw(rate, curves["learning_rate"], INK)
    rate.set_title("Learning rate")
    rate.set_ylim(bottom=0)
    rate.ticklabel_format(axis="y", style="plain")

    for axes in (loss, cider, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.tick_params(length=0)
    return figure


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
    )  # fmt: skip
