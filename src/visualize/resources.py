"""What training took, over its time: speed, memory, processor, waiting, disk, and the GPU where there was one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.visualize.curves import Curve
from src.visualize.style import HEADING, QUIET, SMALL, WIDTH, colour, styled

ACROSS = 3
HIGH, TOP = 2.2, 0.6
MEBIBYTES = 1024.0

Series = tuple[str, float]
"""Name of a curve, and what its values are divided by."""

CHARTS: tuple[tuple[str, tuple[Series, ...], tuple[str, ...]], ...] = (
    ("Captions per second", (("captions_per_second", 1),), ("",)),
    ("Busy processor cores", (("cpu_percent", 100),), ("",)),
    ("Memory at its peak, GiB", (("memory_peak_MiB", MEBIBYTES),), ("",)),
    ("Waiting for data, % of the time", (("wait_share", 0.01),), ("",)),
    (
        "Disk, MiB per second",
        (("disk_read_MiB_per_second", 1), ("disk_written_MiB_per_second", 1)),
        ("read", "written"),
    ),
    ("Seconds an epoch", (("seconds", 1),), ("",)),
    ("GPU, % busy", (("gpu_percent", 1),), ("",)),
    (
        "GPU memory at its peak, GiB",
        (("gpu_memory_peak_MiB", MEBIBYTES), ("gpu_reserved_peak_MiB", MEBIBYTES)),
        ("tensors", "reserved"),
    ),
)
"""Title, curves, and a name for each where there are several."""


@styled()
def resources_figure(curves: Mapping[str, Curve], model: str) -> Figure:
    """A step per epoch, as wide as the epoch was long; a chart whose curves were not measured is left out.

    Args:
        curves: as `read_curves` gives them; `seconds` of each epoch is one.

    Raises:
        KeyError: there is no `seconds`.
    """
    seconds = curves["seconds"]
    ends = list(accumulate(seconds.values()))
    unit, name = (60.0, "minutes") if ends[-1] < 2 * 3600 else (3600.0, "hours")
    edges = [0.0, *(end / unit for end in ends)]
    charts = [chart for chart in CHARTS if any(curve in curves for curve, _ in chart[1])]
    rows = -(-len(charts) // ACROSS)
    total = TOP + rows * HIGH + 0.15
    figure = Figure(figsize=(WIDTH, total))
    figure.text(0.04, 1 - 0.2 / total, f"What training the {model} took", size=HEADING, weight="bold", va="top")
    for place, (title, series, names) in enumerate(charts):
        row, column = divmod(place, ACROSS)
        bottom = total - TOP - row * HIGH - (HIGH - 0.65)
        axes = figure.add_axes((0.04 + column * 0.325, bottom / total, 0.285, (HIGH - 0.95) / total))
        shades = (colour(model), QUIET)
        top = 0.0
        for (curve, divisor), shade in zip(series, shades, strict=False):
            if curve in curves:
                # An epoch before a resume may lack a figure: its step is empty.
                steps = [curves[curve].get(epoch, float("nan")) / divisor for epoch in seconds]
                axes.stairs(steps, edges, color=shade, linewidth=2, baseline=None)
                top = max([top, *(step for step in steps if step == step)])
        if len(series) > 1:
            for at, called, shade in zip((0.78, 1.0), names, shades, strict=True):
                axes.text(
                    at, 1.06, called, transform=axes.transAxes, ha="right", va="bottom", color=shade,
                    weight="bold", size=SMALL,
                )  # fmt: skip
        axes.set_title(title)
        axes.set_ylim(0, 1.15 * top or 1)
        axes.set_xlim(0, edges[-1])
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.tick_params(length=0)
        if place >= len(charts) - ACROSS:
            axes.set_xlabel(f"{name} of training")
    return figure
