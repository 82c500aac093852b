"""What stands, lies or flies about: trees, houses, tents, benches, snowmen, balls, umbrellas and kites."""

from __future__ import annotations

import math

import numpy as np

from src.data.scenes.colours import INK, Rgb, darker, lighter
from src.data.scenes.drawing import Drawing, Point, arc

BARK: Rgb = (112, 78, 50)


def tree(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    drawing.limb([(0, 0), (0.01, 0.5)], [0.15, 0.1], BARK)
    drawing.limb([(0, 0.32), (0.16, 0.52)], [0.07, 0.04], BARK)
    crown = [(-0.24, 0.6), (0.24, 0.58), (-0.14, 0.84), (0.17, 0.82), (0.0, 0.68), (0.02, 0.96)]
    for x, y in crown:
        drawing.disc(x + rng.uniform(-0.03, 0.03), y, rng.uniform(0.19, 0.23), darker(paint, 0.12))
    for x, y in crown[2:]:
        drawing.disc(x - 0.05, y + 0.04, 0.14, lighter(paint, 0.08))


def pine(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    drawing.box(-0.05, 0, 0.05, 0.2, BARK)
    for level, half in ((0.14, 0.34), (0.4, 0.27), (0.66, 0.2)):
        drawing.polygon(
            [(-half, level), (-half * 0.4, level + 0.05), (half * 0.4, level + 0.03), (half, level), (0, level + 0.46)],
            paint,
        )
        drawing.polygon([(half * 0.1, level + 0.03), (half, level), (0, level + 0.46)], darker(paint, 0.18))


def palm(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    drawing.curve([(-0.1, 0), (-0.03, 0.4), (0.06, 0.82)], [0.13, 0.09, 0.07], (158, 116, 74))
    top: Point = (0.06, 0.84)
    for angle in (8, 48, 90, 132, 172, -28, 208):
        a = math.radians(angle + rng.uniform(-6, 6))
        bend = (top[0] + 0.24 * math.cos(a), top[1] + 0.2 * math.sin(a) + 0.08)
        tip = (top[0] + 0.46 * math.cos(a), top[1] + 0.3 * math.sin(a) - 0.14)
        drawing.curve([top, bend, tip], [0.05, 0.12, 0.02], darker(paint, 0.0 if angle % 4 else 0.15))
    for x in (0.0, 0.1):
        drawing.disc(x, 0.8, 0.045, (120, 80, 40))


def house(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    roof = ((150, 66, 52), (84, 88, 104), (110, 78, 60))[rng.integers(3)]
    drawing.box(0.24, 0.72, 0.38, 1.14, (150, 88, 72))
    drawing.box(-0.5, 0, 0.5, 0.64, paint)
    drawing.polygon([(-0.64, 0.6), (0.64, 0.6), (0.36, 1.04), (-0.36, 1.04)], roof)
    drawing.limb([(-0.62, 0.61), (0.62, 0.61)], 0.05, darker(roof, 0.3))
    for level in (0.76, 0.9):
        drawing.limb([(-0.5, level), (0.5, level)], 0.014, darker(roof, 0.16))
    drawing.box(-0.1, 0, 0.12, 0.4, (112, 72, 48), 0.02)
    drawing.disc(0.07, 0.2, 0.02, (240, 210, 110))
    for x in (-0.32, 0.32):
        drawing.box(x - 0.12, 0.24, x + 0.12, 0.5, (250, 250, 244))
        drawing.box(x - 0.095, 0.265, x + 0.095, 0.475, (132, 184, 214))
        drawing.limb([(x, 0.26), (x, 0.48)], 0.02, (250, 250, 244))
        drawing.limb([(x - 0.1, 0.37), (x + 0.1, 0.37)], 0.02, (250, 250, 244))


def tent(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    drawing.polygon([(-0.66, 0), (-0.12, 0.74), (0.32, 0.78), (0.74, 0.06), (0.4, 0)], darker(paint, 0.22))
    drawing.polygon([(-0.66, 0), (-0.12, 0.74), (0.42, 0)], paint)
    drawing.polygon([(-0.26, 0), (-0.12, 0.6), (0.06, 0)], (54, 46, 52))
    drawing.polygon([(-0.12, 0.6), (-0.05, 0.3), (0.16, 0), (0.06, 0)], lighter(paint, 0.35))
    drawing.limb([(-0.12, 0.74), (-0.12, 0.82)], 0.03, INK)


def bench(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    for x in (-0.44, 0.44):
        drawing.limb([(x, 0), (x, 0.28), (x - 0.02, 0.62)], 0.06, (62, 60, 66))
        drawing.limb([(x + 0.1, 0.0), (x + 0.1, 0.26)], 0.05, (62, 60, 66))
    for y in (0.38, 0.48, 0.58):
        drawing.box(-0.6, y - 0.035, 0.6, y + 0.04, paint, 0.015)
    drawing.box(-0.62, 0.23, 0.66, 0.31, lighter(paint, 0.15), 0.02)
    drawing.box(-0.62, 0.2, 0.66, 0.24, darker(paint, 0.3), 0.01)


def snowman(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        drawing.limb([(side * 0.2, 0.56), (side * 0.5, 0.72)], 0.03, BARK)
        drawing.limb([(side * 0.4, 0.67), (side * 0.48, 0.6)], 0.024, BARK)
    snow = (232, 238, 248)
    drawing.disc(0, 0.27, 0.28, darker(snow, 0.07))
    drawing.disc(0, 0.62, 0.21, darker(snow, 0.03))
    drawing.disc(0, 0.9, 0.155, snow)
    for y in (0.5, 0.6, 0.3):
        drawing.disc(0.04, y, 0.026, INK)
    for x in (0.0, 0.1):
        drawing.disc(x, 0.94, 0.022, INK)
    drawing.polygon([(0.04, 0.9), (0.26, 0.87), (0.04, 0.85)], (244, 130, 40))
    drawing.limb([(-0.15, 0.76), (0.15, 0.76)], 0.08, paint)
    drawing.limb([(0.1, 0.75), (0.13, 0.58)], 0.075, darker(paint, 0.15))
    drawing.box(-0.21, 1.0, 0.21, 1.05, (44, 44, 52), 0.02)
    drawing.box(-0.13, 1.04, 0.13, 1.24, (44, 44, 52), 0.02)
    drawing.box(-0.13, 1.05, 0.13, 1.1, paint)


def ball(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    """A ball of radius 0.5 on the origin."""
    second = (250, 248, 242) if sum(paint) < 640 else (150, 152, 160)
    drawing.disc(0, 0.5, 0.5, paint)
    with drawing.moved(0, 0.5, turn=rng.uniform(0, 90)):
        for angle in (0, 180):
            drawing.polygon([*arc(0, 0, 0.49, 0.49, angle - 22, angle + 22, 10), (0, 0)], second)
        drawing.disc(0, 0, 0.1, second)
    drawing.ellipse(-0.18, 0.72, 0.1, 0.06, lighter(paint, 0.6), turn=35)


def umbrella(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    """The hand holds it at the origin; the canopy is about one unit wide."""
    drawing.limb([(0, -0.03), (0, 0.52)], 0.028, (84, 66, 56))
    half, low, high = 0.5, 0.3, 0.3
    edge: list[Point] = []
    for index in range(5):
        x = -half + half * (2 * index + 1) / 5
        edge += arc(x, low, half / 5, 0.05, 180, 0, 6)
    drawing.polygon(arc(0, low, half, high, 0, 180, 30) + edge, paint)
    for a, b, tone in ((-0.3, -0.1, 0.22), (0.1, 0.3, 0.22)):
        drawing.polygon(
            [(a, low + 0.02), (b, low + 0.02), (b * 0.4, low + high * 0.93), (0, low + high)], lighter(paint, tone)
        )
    drawing.limb([(0, low + high), (0, low + high + 0.05)], 0.03, INK)


def kite(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    """A diamond round the origin, about one unit high without its tail."""
    with drawing.moved(turn=rng.uniform(-28, 8)):
        tail = [(0, -0.5), (0.1, -0.66), (-0.06, -0.82), (0.08, -0.98)]
        drawing.curve(tail, 0.022, (80, 74, 80))
        for x, y in tail[1:]:
            drawing.polygon([(x - 0.1, y + 0.05), (x, y), (x - 0.1, y - 0.05)], darker(paint, 0.1))
            drawing.polygon([(x + 0.1, y + 0.05), (x, y), (x + 0.1, y - 0.05)], lighter(paint, 0.2))
        drawing.polygon([(0, 0.5), (0.38, 0.12), (0, -0.5), (-0.38, 0.12)], paint)
        drawing.polygon([(0, 0.5), (0.38, 0.12), (0, 0.12)], lighter(paint, 0.35))
        drawing.polygon([(0, 0.12), (-0.38, 0.12), (0, -0.5)], darker(paint, 0.2))
        drawing.limb([(0, 0.5), (0, -0.5)], 0.018, INK)
        drawing.limb([(-0.38, 0.12), (0.38, 0.12)], 0.018, INK)
