"""Line charts as SVG that takes its colours from the page, so that they fit light and dark and stay sharp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 28
TICKS = 4
SMALLEST = 1e-9
"""Differences below this are none."""


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        look: class that names its colour: LSTM, GRU, BLIP, quiet, best.
        points: where and how much.
        faint: drawn dashed, as what stands beside the matter.
        dots: drawn as dots alone.
    """

    name: str
    look: str
    points: Sequence[tuple[float, float]]
    faint: bool = False
    dots: bool = False


def chart(title: str, lines: Sequence[Line], across: str = "epoch", *, from_zero: bool = False) -> str:
    """A figure with a title, a legend and the curves; what it shows is told in words as well.

    Args:
        across: what the horizontal axis counts.
        from_zero: the vertical axis begins at 0.
    """
    lines = [line for line in lines if any(math.isfinite(value) for _, value in line.points)]
    if not lines:
        return ""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points if math.isfinite(y)]
    left, right = min(xs), max(xs)
    ticks = steps(0.0 if from_zero else min(ys), max(ys))
    low, high = ticks[0], ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        share = (x - left) / (right - left) if right > left else 0.5
        rise = (y - low) / (high - low)
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - rise * (HEIGHT - TOP - BOTTOM)

    grid = "".join(_rule(at(left, tick)[1], short(tick)) for tick in ticks)
    marks = sorted({round(left), round((left + right) / 2), round(right)})
    feet = "".join(_foot(at(mark, low)[0], f"{mark:g}", mark == marks[-1]) for mark in marks if left <= mark <= right)
    drawn = "".join(_line(line, [at(x, y) for x, y in line.points if math.isfinite(y)]) for line in lines)
    names = "".join(
        f'<li class="cl-key cl-{escape(line.look)}{" cl-faint" if line.faint else ""}">{escape(line.name)}</li>'
        for line in lines
        if line.name
    )
    told = "; ".join(_told(line) for line in lines)
    return (
        f'<figure class="cl-chart"><figcaption>{escape(title)}</figcaption><ul class="cl-keys">{names}</ul>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(f"{title}, by {across}. {told}")}">'
        f'{grid}{feet}{drawn}<text class="cl-axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 2}" '
        f'text-anchor="middle">{escape(across)}</text></svg></figure>'
    )


def steps(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, that reach from below `low` to above `high`."""
    if high - low <= SMALLEST * max(1.0, abs(low), abs(high)):
        margin = abs(low) / 10 if abs(low) > SMALLEST else 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def short(value: float) -> str:
    """A number for an axis: 0.00005 is 5e-5, 12,000 is 12k."""
    if value and abs(value) < 0.0001:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def _line(line: Line, places: Sequence[tuple[float, float]]) -> str:
    look = f'class="cl-{escape(line.look)}{" cl-faint" if line.faint else ""}"'
    if line.dots or len(places) == 1:
        return "".join(f'<circle {look} cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in places)
    return f'<polyline {look} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'


def _rule(y: float, text: str) -> str:
    return (
        f'<line class="cl-rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="cl-axis" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _foot(x: float, text: str, last: bool) -> str:
    anchor = "end" if last else "middle"
    return f'<text class="cl-axis" x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="{anchor}">{text}</text>'


def _told(line: Line) -> str:
    values = [value for _, value in line.points if math.isfinite(value)]
    return f"{line.name or 'values'} from {values[0]:.3g} to {values[-1]:.3g}"
