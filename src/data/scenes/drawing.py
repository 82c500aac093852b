"""Shapes of one object in its own coordinates, and the shaded layers they become.

An object draws itself looking to the right: x grows forward, y grows upward, 1 is about the height of a standing adult.
Everything is a polygon, so an object's extent is known before a single pixel is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.data.scenes.colours import Rgb

Point = tuple[float, float]


@dataclass(frozen=True)
class Extent:
    left: float
    bottom: float
    right: float
    top: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.top - self.bottom

    @property
    def larger_side(self) -> float:
        return max(self.width, self.height)


@dataclass(frozen=True)
class Shape:
    part: str
    points: np.ndarray
    """[n, 2] corners, in the object's coordinates."""
    colour: Rgb


class Drawing:
    """Collects the shapes of an object and of what it holds or rides, each under its part's name."""

    def __init__(self, part: str) -> None:
        self.shapes: list[Shape] = []
        self._part = part
        self._frame = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Shapes drawn inside belong to another part, with a box of its own."""
        outer, self._part = self._part, name
        yield
        self._part = outer

    @contextmanager
    def moved(self, x: float = 0.0, y: float = 0.0, turn: float = 0.0, scale: float = 1.0) -> Iterator[None]:
        """Shapes drawn inside are scaled, turned anticlockwise (degrees), then moved."""
        outer = self._frame
        cos, sin = scale * math.cos(math.radians(turn)), scale * math.sin(math.radians(turn))
        self._frame = outer @ np.array([[cos, -sin, x], [sin, cos, y], [0.0, 0.0, 1.0]])
        yield
        self._frame = outer

    def polygon(self, points: Sequence[Point], colour: Rgb) -> None:
        corners = np.asarray(points, dtype=float) @ self._frame[:2, :2].T + self._frame[:2, 2]
        self.shapes.append(Shape(self._part, corners, colour))

    def ellipse(self, x: float, y: float, wide: float, high: float, colour: Rgb, turn: float = 0.0) -> None:
        """An ellipse with the half-axes `wide` and `high`."""
        with self.moved(x, y, turn):
            self.polygon(arc(0, 0, wide, high, 0, 360, 36), colour)

    def disc(self, x: float, y: float, radius: float, colour: Rgb) -> None:
        self.ellipse(x, y, radius, radius, colour)

    def blob(self, points: Sequence[Point], colour: Rgb) -> None:
        """A closed smooth curve through the points (Catmull-Rom)."""
        self.polygon(_smooth(points, closed=True), colour)

    def box(self, left: float, bottom: float, right: float, top: float, colour: Rgb, round_by: float = 0.0) -> None:
        if round_by <= 0:
            self.polygon([(left, bottom), (right, bottom), (right, top), (left, top)], colour)
            return
        r = round_by
        corners = [(right - r, top - r, 0), (left + r, top - r, 90), (left + r, bottom + r, 180)]
        corners.append((right - r, bottom + r, 270))
        self.polygon([p for x, y, start in corners for p in arc(x, y, r, r, start, start + 90, 6)], colour)

    def limb(self, points: Sequence[Point], widths: Sequence[float] | float, colour: Rgb) -> None:
        """A thick line with round ends and joints; `widths` at each point, or one for all."""
        thick = [widths] * len(points) if isinstance(widths, int | float) else list(widths)
        for (x, y), width in zip(points, thick, strict=True):
            self.polygon(arc(x, y, width / 2, width / 2, 0, 360, 16), colour)
        for index in range(len(points) - 1):
            (x0, y0), (x1, y1) = points[index], points[index + 1]
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            nx, ny = -(y1 - y0) / length, (x1 - x0) / length
            a, b = thick[index] / 2, thick[index + 1] / 2
            self.polygon(
                [
                    (x0 + nx * a, y0 + ny * a),
                    (x1 + nx * b, y1 + ny * b),
                    (x1 - nx * b, y1 - ny * b),
                    (x0 - nx * a, y0 - ny * a),
                ],
                colour,
            )

    def curve(self, points: Sequence[Point], widths: Sequence[float] | float, colour: Rgb) -> None:
        """A thick smooth line through the points."""
        line = _smooth(points, closed=False)
        if not isinstance(widths, int | float):
            widths = list(np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths))
        self.limb(line, widths, colour)

    def ring(self, x: float, y: float, radius: float, width: float, colour: Rgb) -> None:
        self.limb(arc(x, y, radius, radius, 0, 360, 36), width, colour)

    @property
    def parts(self) -> list[str]:
        """Names of the parts, in the order they first appear."""
        return list(dict.fromkeys(shape.part for shape in self.shapes))

    def extent(self, part: str | None = None) -> Extent:
        """How far a part reaches (all parts when None), in the object's coordinates."""
        corners = np.concatenate([shape.points for shape in self.shapes if part in (None, shape.part)])
        (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
        return Extent(float(left), float(bottom), float(right), float(top))


def arc(x: float, y: float, wide: float, high: float, start: float, end: float, steps: int = 18) -> list[Point]:
    """Points along an ellipse, anticlockwise from `start` to `end` degrees (0 = forward, 90 = up)."""
    return [
        (x + wide * math.cos(math.radians(a)), y + high * math.sin(math.radians(a)))
        for a in np.linspace(start, end, steps + 1)
    ]


def rasterise(drawing: Drawing, part: str, scale: float, x: float, y: float, mirrored: bool, side: int) -> Image.Image:
    """The shapes of one part as an RGBA layer of `side` x `side` pixels, shaded as if lit from the upper left.

    (x, y) is the pixel at which the object's origin lies, `scale` the number of pixels of one unit.
    """
    layer = Image.new("RGBA", (side, side))
    pen = ImageDraw.Draw(layer)
    stretch = np.array([-scale if mirrored else scale, -scale])
    for shape in drawing.shapes:
        if shape.part == part:
            corners = shape.points * stretch + (x, y)
            pen.polygon([(float(a), float(b)) for a, b in corners], fill=shape.colour)
    return _shaded(layer)


def _shaded(layer: Image.Image) -> Image.Image:
    area = layer.getbbox()
    if area is None:
        return layer
    cut = layer.crop(area)
    width, height = cut.size
    border = 8
    alpha = Image.new("L", (width + 2 * border, height + 2 * border))
    alpha.paste(cut.getchannel("A"), (border, border))
    reach = max(3.0, 0.05 * max(width, height))
    inner = (border, border, border + width, border + height)
    round_form = np.asarray(alpha.filter(ImageFilter.GaussianBlur(reach)), dtype=np.float32) / 255
    down_slope, right_slope = np.gradient(round_form, axis=0), np.gradient(round_form, axis=1)
    light = ((right_slope + down_slope) * reach * 0.55)[border : border + height, border : border + width]
    rim = np.asarray(alpha.filter(ImageFilter.GaussianBlur(2.2)).crop(inner), dtype=np.float32) / 255
    down = np.linspace(0.05, -0.08, height, dtype=np.float32)[:, None]
    factor = (1 + np.clip(light, -0.3, 0.28) + down) * (1 - 0.75 * np.clip(0.92 - rim, 0, 1))
    pixels = np.asarray(cut.convert("RGB"), dtype=np.float32) * factor[..., None]
    shaded = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    shaded.putalpha(cut.getchannel("A"))
    result = Image.new("RGBA", layer.size)
    result.paste(shaded, area[:2])
    return result


def _smooth(points: Sequence[Point], closed: bool, steps: int = 7) -> list[Point]:
    knots = np.asarray(points, dtype=float)
    count = len(knots)
    along = np.linspace(0, 1, steps, endpoint=False)[:, None]
    line: list[Point] = []
    for index in range(count if closed else count - 1):
        around = [index - 1, index, index + 1, index + 2]
        before, start, end, after = knots[[k % count if closed else min(max(k, 0), count - 1) for k in around]]
        bend = 0.5 * (
            2 * start
            + (end - before) * along
            + (2 * before - 5 * start + 4 * end - after) * along**2
            + (3 * start - before - 3 * end + after) * along**3
        )
        line.extend((float(a), float(b)) for a, b in bend)
    if not closed:
        line.append((float(knots[-1, 0]), float(knots[-1, 1])))
    return line
