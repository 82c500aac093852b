"""Cars, buses, trucks, bicycles, boats, aeroplanes and balloons, seen from the side."""

from __future__ import annotations

import numpy as np

from src.data.scenes.colours import INK, Rgb, darker, lighter
from src.data.scenes.drawing import Drawing, Point, arc

GLASS: Rgb = (178, 214, 232)


def _wheel(drawing: Drawing, x: float, radius: float) -> None:
    drawing.disc(x, radius, radius, (42, 42, 48))
    drawing.disc(x, radius, radius * 0.58, (190, 194, 202))
    drawing.disc(x, radius, radius * 0.24, (96, 98, 108))


def car(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    cabin: list[Point] = [(-0.5, 0.36), (-0.36, 0.62), (0.16, 0.62), (0.4, 0.36)]
    drawing.blob([(-0.56, 0.34), (-0.4, 0.62), (-0.1, 0.67), (0.16, 0.63), (0.44, 0.36)], paint)
    drawing.blob(
        [(-0.86, 0.16), (-0.86, 0.36), (-0.5, 0.42), (0.4, 0.41), (0.78, 0.35), (0.88, 0.24), (0.84, 0.12), (0, 0.1)],
        paint,
    )
    drawing.polygon([(-0.43, 0.4), (-0.33, 0.58), (-0.1, 0.6), (-0.1, 0.4)], GLASS)
    drawing.polygon([(-0.04, 0.4), (-0.04, 0.6), (0.14, 0.58), (0.32, 0.4)], GLASS)
    drawing.limb([cabin[0], cabin[3]], 0.015, darker(paint))
    drawing.limb([(-0.07, 0.4), (-0.07, 0.15)], 0.016, darker(paint, 0.35))
    drawing.limb([(-0.24, 0.33), (-0.15, 0.33)], 0.025, darker(paint, 0.45))
    drawing.box(-0.88, 0.12, 0.88, 0.17, darker(paint, 0.45), 0.02)
    drawing.ellipse(0.82, 0.29, 0.055, 0.05, (255, 240, 170))
    drawing.ellipse(-0.84, 0.31, 0.035, 0.05, (226, 48, 40))
    for x in (-0.5, 0.52):
        drawing.disc(x, 0.16, 0.2, darker(paint, 0.5))
        _wheel(drawing, x, 0.165)


def bus(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    drawing.box(-0.95, 0.14, 0.95, 0.94, paint, 0.09)
    drawing.box(-0.88, 0.52, 0.64, 0.82, GLASS, 0.03)
    for x in np.linspace(-0.58, 0.34, 4):
        drawing.box(x - 0.02, 0.5, x + 0.02, 0.84, paint)
    drawing.box(0.7, 0.46, 0.93, 0.84, GLASS, 0.03)
    drawing.box(0.34, 0.18, 0.62, 0.84, darker(paint, 0.3), 0.02)
    drawing.box(0.37, 0.22, 0.47, 0.8, GLASS)
    drawing.box(0.49, 0.22, 0.59, 0.8, GLASS)
    drawing.box(-0.95, 0.36, 0.34, 0.42, lighter(paint, 0.6))
    drawing.ellipse(0.91, 0.25, 0.035, 0.05, (255, 240, 170))
    for x in (-0.6, 0.72):
        drawing.disc(x, 0.16, 0.2, darker(paint, 0.5))
        _wheel(drawing, x, 0.165)


def truck(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    load = (226, 224, 216) if sum(paint) < 660 else (150, 156, 168)
    drawing.box(-0.9, 0.16, 0.9, 0.26, (70, 70, 78), 0.02)
    drawing.box(-0.95, 0.26, 0.34, 0.98, load, 0.03)
    for x in np.linspace(-0.78, 0.18, 6):
        drawing.limb([(x, 0.3), (x, 0.94)], 0.018, darker(load, 0.12))
    drawing.blob([(0.4, 0.2), (0.38, 0.5), (0.42, 0.8), (0.66, 0.8), (0.8, 0.54), (0.95, 0.46), (0.95, 0.2)], paint)
    drawing.box(0.38, 0.18, 0.6, 0.8, paint, 0.03)
    drawing.polygon([(0.54, 0.54), (0.54, 0.74), (0.66, 0.74), (0.77, 0.54)], GLASS)
    drawing.limb([(0.5, 0.22), (0.5, 0.76)], 0.016, darker(paint, 0.35))
    drawing.ellipse(0.93, 0.34, 0.035, 0.05, (255, 240, 170))
    for x in (-0.66, -0.3, 0.66):
        _wheel(drawing, x, 0.17)


def bicycle(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    """The saddle lies at (-0.14, 0.56), the handlebar at (0.28, 0.62)."""
    for x in (-0.34, 0.4):
        for angle in range(0, 180, 30):
            spoke = arc(x, 0.23, 0.21, 0.21, angle, angle + 180, 1)
            drawing.limb(spoke, 0.01, (168, 170, 178))
        drawing.ring(x, 0.23, 0.21, 0.046, (44, 44, 50))
    frame = [(-0.34, 0.23), (-0.12, 0.46), (0.26, 0.5), (0.02, 0.22), (-0.34, 0.23)]
    drawing.limb(frame, 0.05, paint)
    drawing.limb([(0.02, 0.22), (-0.15, 0.54)], 0.05, paint)
    drawing.limb([(0.4, 0.23), (0.25, 0.6)], 0.045, darker(paint, 0.12))
    drawing.limb([(0.25, 0.6), (0.34, 0.64)], 0.04, INK)
    drawing.limb([(-0.23, 0.56), (-0.06, 0.56)], 0.06, INK)
    drawing.disc(0.02, 0.22, 0.055, (96, 98, 108))
    drawing.limb([(0.02, 0.22), (0.08, 0.13), (0.14, 0.13)], 0.026, INK)


def boat(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    drawing.limb([(0.02, 0.2), (0.02, 1.22)], 0.04, (112, 80, 54))
    drawing.polygon([(0.06, 0.34), (0.06, 1.18), (0.3, 0.8), (0.52, 0.34)], (250, 246, 236))
    drawing.polygon([(-0.03, 0.4), (-0.03, 1.08), (-0.2, 0.8), (-0.42, 0.4)], (226, 222, 214))
    drawing.polygon([(0.02, 1.2), (0.02, 1.34), (-0.2, 1.27)], paint)
    drawing.blob([(-0.7, 0.28), (-0.52, 0.04), (0, 0.0), (0.48, 0.03), (0.76, 0.3), (0, 0.25)], paint)
    drawing.curve([(-0.7, 0.28), (0, 0.25), (0.76, 0.3)], 0.045, darker(paint, 0.35))


def plane(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    with drawing.moved(turn=rng.uniform(2, 12)):
        drawing.polygon([(-0.08, 0.06), (0.16, 0.06), (-0.14, 0.34), (-0.24, 0.34)], darker(paint, 0.35))
        drawing.polygon([(-0.86, 0.04), (-0.62, 0.04), (-0.82, 0.4), (-0.98, 0.4)], darker(paint, 0.15))
        drawing.blob(
            [
                (-0.9, 0.06),
                (-0.5, 0.14),
                (0.3, 0.15),
                (0.78, 0.1),
                (0.92, 0.0),
                (0.74, -0.09),
                (0.1, -0.13),
                (-0.55, -0.08),
            ],
            paint,
        )
        drawing.polygon([(-0.72, 0.04), (-0.56, 0.02), (-0.84, -0.14), (-0.98, -0.14)], darker(paint, 0.3))
        drawing.polygon([(-0.12, -0.02), (0.22, -0.04), (-0.24, -0.4), (-0.42, -0.4)], darker(paint, 0.28))
        for x in np.linspace(-0.4, 0.5, 7):
            drawing.ellipse(x, 0.05, 0.035, 0.036, (60, 90, 130))
        drawing.polygon([(0.64, 0.12), (0.8, 0.07), (0.7, 0.03), (0.6, 0.04)], (60, 90, 130))


def balloon(drawing: Drawing, action: str, paint: Rgb, rng: np.random.Generator) -> None:
    envelope: list[Point] = [(-0.1, 0.3), (-0.36, 0.62), (-0.42, 0.9), (-0.26, 1.2), (0, 1.3)]
    drawing.blob([*envelope, *((-x, y) for x, y in envelope[-2::-1])], paint)
    pale = lighter(paint, 0.62)
    for inner, outer in ((0.16, 0.29), (-0.29, -0.16)):
        drawing.blob(
            [
                (inner * 0.25, 0.32),
                (inner, 0.72),
                (inner, 0.96),
                (inner * 0.4, 1.27),
                (outer * 0.5, 1.25),
                (outer, 0.98),
                (outer, 0.72),
                (outer * 0.3, 0.32),
            ],
            pale,
        )
    for x in (-0.1, 0.1):
        drawing.limb([(x, 0.32), (x * 0.9, 0.17)], 0.014, (90, 70, 50))
    drawing.box(-0.115, 0, 0.115, 0.17, (156, 106, 58), 0.025)
    drawing.limb([(-0.115, 0.155), (0.115, 0.155)], 0.03, (110, 72, 40))
