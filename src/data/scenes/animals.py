"""Animals, each with the silhouette that tells it from the others, in the pose of what it does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from src.data.scenes.colours import INK, Rgb, darker, lighter
from src.data.scenes.drawing import Drawing, Point

Gait = Sequence[tuple[float, float]]
"""(upper, lower) angle from straight down, forward positive: near hind, far hind, near fore, far fore leg."""

STANDING: Gait = ((-4, 4), (6, -6), (3, -1), (-7, -4))
WALKING: Gait = ((-20, -14), (16, 2), (18, 4), (-18, -22))
RUNNING: Gait = ((-52, -30), (-36, -66), (58, 44), (40, 74))
LEAPING: Gait = ((-66, -58), (-52, -72), (62, 84), (46, 66))

GAITS = {"stand": STANDING, "walk": WALKING, "run": RUNNING, "jump": LEAPING, "graze": STANDING}


def _legs(
    drawing: Drawing,
    hips: tuple[Point, Point],
    gait: Gait,
    length: float,
    width: float,
    coat: Rgb,
    hoof: Rgb,
    far: bool,
) -> None:
    for index in (1, 3) if far else (0, 2):
        hip = hips[index // 2]
        upper, lower = gait[index]
        knee = (
            hip[0] + 0.5 * length * math.sin(math.radians(upper)),
            hip[1] - 0.5 * length * math.cos(math.radians(upper)),
        )
        foot = (
            knee[0] + 0.5 * length * math.sin(math.radians(lower)),
            knee[1] - 0.5 * length * math.cos(math.radians(lower)),
        )
        drawing.limb([hip, knee, foot], [width * 1.5, width, width * 0.8], darker(coat, 0.28) if far else coat)
        drawing.ellipse(foot[0] + width * 0.2, foot[1], width * 0.62, width * 0.36, hoof)


def _eye(drawing: Drawing, x: float, y: float, r: float) -> None:
    drawing.disc(x, y, r * 1.35, (250, 250, 245))
    drawing.disc(x + r * 0.2, y, r, INK)


def dog(drawing: Drawing, action: str, coat: Rgb, rng: np.random.Generator) -> None:
    ear, belly = darker(coat, 0.42), lighter(coat, 0.25)
    if action == "sit":
        drawing.curve([(-0.22, 0.08), (-0.42, 0.12), (-0.46, 0.34)], [0.1, 0.07, 0.04], coat)
        drawing.blob([(-0.3, 0.02), (-0.32, 0.24), (-0.1, 0.52), (0.12, 0.62), (0.2, 0.4), (0.12, 0.06)], coat)
        drawing.limb([(0.02, 0.4), (0.08, 0.05)], [0.12, 0.085], darker(coat, 0.2))
        drawing.limb([(0.12, 0.42), (0.19, 0.05)], [0.13, 0.09], coat)
        drawing.ellipse(-0.12, 0.16, 0.18, 0.15, darker(coat, 0.08))
        for x in (-0.02, 0.12, 0.24):
            drawing.ellipse(x, 0.035, 0.085, 0.04, darker(coat, 0.12))
        head = (0.17, 0.74)
    elif action == "lie":
        drawing.curve([(-0.42, 0.14), (-0.62, 0.1), (-0.72, 0.18)], [0.1, 0.07, 0.04], coat)
        drawing.blob([(-0.5, 0.04), (-0.48, 0.26), (-0.15, 0.32), (0.3, 0.34), (0.4, 0.14), (0.3, 0.03)], coat)
        drawing.ellipse(-0.32, 0.13, 0.17, 0.13, darker(coat, 0.1))
        drawing.limb([(0.25, 0.1), (0.62, 0.055)], [0.13, 0.1], darker(coat, 0.12))
        drawing.limb([(-0.3, 0.05), (-0.08, 0.045)], 0.085, darker(coat, 0.16))
        head = (0.46, 0.42)
    else:
        hips = ((-0.3, 0.4), (0.26, 0.4))
        gait = GAITS[action]
        _legs(drawing, hips, gait, 0.4, 0.1, coat, darker(coat, 0.35), far=True)
        drawing.curve([(-0.38, 0.52), (-0.54, 0.66), (-0.52, 0.86)], [0.11, 0.08, 0.05], coat)
        drawing.blob(
            [(-0.42, 0.36), (-0.42, 0.56), (-0.1, 0.56), (0.26, 0.62), (0.38, 0.5), (0.28, 0.3), (-0.08, 0.36)], coat
        )
        drawing.limb([(0.27, 0.52), (0.42, 0.72)], [0.26, 0.2], coat)
        _legs(drawing, hips, gait, 0.4, 0.1, coat, darker(coat, 0.35), far=False)
        head = (0.46, 0.76)
    with drawing.moved(*head):
        drawing.ellipse(0, 0, 0.19, 0.17, coat)
        drawing.limb([(0.1, -0.05), (0.27, -0.07)], [0.17, 0.12], belly)
        drawing.disc(0.34, -0.03, 0.045, INK)
        drawing.limb([(0.2, -0.14), (0.3, -0.13)], 0.02, INK)
        if action in ("run", "jump"):
            drawing.ellipse(0.24, -0.18, 0.035, 0.07, (232, 104, 120))
        _eye(drawing, 0.08, 0.06, 0.026)
        drawing.blob([(-0.1, 0.15), (0.0, 0.06), (-0.04, -0.2), (-0.16, -0.24), (-0.21, -0.04)], ear)
        if action != "lie":
            drawing.limb([(-0.14, -0.15), (0.06, -0.2)], 0.05, (206, 52, 52))


def cat(drawing: Drawing, action: str, coat: Rgb, rng: np.random.Generator) -> None:
    stripe = darker(coat, 0.3)
    if action == "sit":
        drawing.curve([(-0.18, 0.06), (-0.46, 0.04), (-0.52, 0.24), (-0.38, 0.36)], [0.08, 0.07, 0.065, 0.06], stripe)
        drawing.blob([(-0.26, 0.02), (-0.26, 0.26), (-0.08, 0.52), (0.12, 0.54), (0.2, 0.26), (0.18, 0.02)], coat)
        for x in (0.04, 0.15):
            drawing.limb([(x, 0.34), (x + 0.03, 0.04)], [0.1, 0.075], lighter(coat, 0.08))
        head = (0.06, 0.7)
    elif action == "lie":
        drawing.curve([(-0.45, 0.1), (-0.7, 0.05), (-0.78, 0.2), (-0.66, 0.3)], [0.09, 0.08, 0.07, 0.06], stripe)
        drawing.blob([(-0.52, 0.03), (-0.5, 0.26), (-0.1, 0.36), (0.3, 0.3), (0.36, 0.08), (0.2, 0.02)], coat)
        drawing.limb([(0.2, 0.08), (0.52, 0.05)], [0.1, 0.08], lighter(coat, 0.08))
        head = (0.4, 0.4)
    else:
        hips = ((-0.3, 0.3), (0.24, 0.3))
        gait = GAITS[action]
        _legs(drawing, hips, gait, 0.3, 0.08, coat, lighter(coat, 0.2), far=True)
        tail = [(-0.36, 0.4), (-0.58, 0.5), (-0.58, 0.78), (-0.48, 0.92)]
        drawing.curve(tail, [0.09, 0.075, 0.065, 0.06], stripe)
        drawing.blob(
            [(-0.4, 0.26), (-0.4, 0.44), (-0.05, 0.47), (0.28, 0.46), (0.34, 0.32), (0.2, 0.2), (-0.1, 0.22)], coat
        )
        for x in (-0.26, -0.12, 0.02):
            drawing.limb([(x, 0.44), (x + 0.03, 0.33)], [0.035, 0.015], stripe)
        _legs(drawing, hips, gait, 0.3, 0.08, coat, lighter(coat, 0.2), far=False)
        head = (0.4, 0.55)
    with drawing.moved(*head):
        for side in (-1, 1):
            drawing.polygon([(side * 0.2, 0.02), (side * 0.19, 0.34), (side * 0.02, 0.16)], coat)
            drawing.polygon([(side * 0.16, 0.1), (side * 0.165, 0.26), (side * 0.06, 0.16)], (236, 150, 150))
        drawing.ellipse(0, 0, 0.22, 0.18, coat)
        for side in (-1, 1):
            drawing.ellipse(side * 0.085, 0.035, 0.042, 0.052, (170, 212, 80))
            drawing.ellipse(side * 0.085, 0.035, 0.016, 0.046, INK)
            for lift in (0.0, 0.045):
                drawing.limb([(side * 0.09, -0.07), (side * 0.3, -0.06 + lift)], 0.012, (246, 246, 240))
        drawing.ellipse(0, -0.085, 0.085, 0.06, lighter(coat, 0.4))
        drawing.polygon([(-0.03, -0.045), (0.03, -0.045), (0, -0.08)], (226, 110, 120))
        for x in (-0.06, 0.0, 0.06):
            drawing.limb([(x, 0.17), (x, 0.11)], 0.02, stripe)


def horse(drawing: Drawing, action: str, coat: Rgb, rng: np.random.Generator) -> None:
    mane = darker(coat, 0.5) if sum(coat) > 200 else (92, 84, 84)
    hips, gait = ((-0.36, 0.56), (0.3, 0.56)), GAITS[action]
    _legs(drawing, hips, gait, 0.56, 0.09, coat, (60, 50, 46), far=True)
    drawing.curve([(-0.46, 0.78), (-0.64, 0.7), (-0.66, 0.4)], [0.1, 0.13, 0.05], mane)
    drawing.blob(
        [(-0.5, 0.54), (-0.5, 0.76), (-0.3, 0.84), (0.05, 0.78), (0.34, 0.84), (0.42, 0.62), (0.3, 0.5), (-0.1, 0.5)],
        coat,
    )
    _legs(drawing, hips, gait, 0.56, 0.09, coat, (60, 50, 46), far=False)
    neck: list[Point] = [(0.3, 0.7), (0.46, 0.95), (0.56, 1.14)]
    if action == "graze":
        neck = [(0.3, 0.7), (0.54, 0.5), (0.62, 0.24)]
    drawing.curve([(x - 0.08, y + 0.05) for x, y in neck], [0.16, 0.13, 0.08], mane)
    drawing.curve(neck, [0.32, 0.22, 0.15], coat)
    with drawing.moved(*neck[-1], turn=-36 if action != "graze" else -50):
        drawing.polygon([(-0.08, 0.06), (-0.03, 0.06), (-0.06, 0.2)], darker(coat, 0.15))
        drawing.polygon([(-0.02, 0.06), (0.04, 0.05), (0.02, 0.2)], coat)
        drawing.limb([(-0.02, 0), (0.28, -0.02)], [0.18, 0.12], coat)
        drawing.limb([(0.27, -0.02), (0.3, -0.02)], 0.12, darker(coat, 0.28))
        drawing.disc(0.32, 0.0, 0.018, INK)
        _eye(drawing, 0.06, 0.03, 0.022)
        drawing.limb([(-0.1, 0.04), (0.03, 0.07)], 0.06, mane)


def cow(drawing: Drawing, action: str, coat: Rgb, rng: np.random.Generator) -> None:
    hips, gait = ((-0.42, 0.36), (0.36, 0.36)), GAITS[action]
    patch = (40, 36, 40) if sum(coat) > 600 else lighter(coat, 0.72)
    _legs(drawing, hips, gait, 0.36, 0.11, coat, (56, 48, 46), far=True)
    drawing.curve([(-0.56, 0.66), (-0.66, 0.56), (-0.66, 0.26)], 0.035, darker(coat, 0.2))
    drawing.ellipse(-0.66, 0.22, 0.04, 0.07, INK)
    drawing.ellipse(-0.22, 0.3, 0.13, 0.09, (238, 168, 170))
    drawing.blob(
        [(-0.6, 0.34), (-0.58, 0.68), (-0.2, 0.72), (0.2, 0.7), (0.5, 0.74), (0.54, 0.48), (0.42, 0.3), (-0.1, 0.26)],
        coat,
    )
    for x, y, r in ((-0.4, 0.56, 0.13), (-0.05, 0.46, 0.15), (0.28, 0.6, 0.1)):
        bumps = [
            (x + r * rng.uniform(0.7, 1.2) * math.cos(a), y + 0.75 * r * math.sin(a)) for a in np.arange(0, 6.2, 0.9)
        ]
        drawing.blob(bumps, patch)
    _legs(drawing, hips, gait, 0.36, 0.11, coat, (56, 48, 46), far=False)
    head = (0.66, 0.72) if action != "graze" else (0.74, 0.24)
    drawing.limb([(0.44, 0.58), head], [0.32, 0.2], coat)
    with drawing.moved(*head, turn=-28):
        for side in (-1, 1):
            horn = [(side * 0.07, 0.12), (side * 0.16, 0.2), (side * 0.13, 0.32)]
            drawing.curve(horn, [0.055, 0.045, 0.015], (240, 228, 200))
            drawing.ellipse(side * 0.2, 0.07, 0.1, 0.05, darker(coat, 0.2), turn=side * 12)
        drawing.ellipse(0, 0, 0.15, 0.18, coat)
        drawing.ellipse(0.05, -0.14, 0.14, 0.1, (240, 176, 170))
        for x in (0.0, 0.1):
            drawing.disc(x, -0.13, 0.02, (120, 70, 70))
        _eye(drawing, -0.05, 0.04, 0.024)
        _eye(drawing, 0.09, 0.04, 0.024)


def sheep(drawing: Drawing, action: str, coat: Rgb, rng: np.random.Generator) -> None:
    face = (58, 52, 56) if sum(coat) > 400 else (206, 190, 174)
    hips, gait = ((-0.24, 0.3), (0.22, 0.3)), GAITS[action]
    _legs(drawing, hips, gait, 0.3, 0.075, face, INK, far=True)
    _legs(drawing, hips, gait, 0.3, 0.075, face, INK, far=False)
    drawing.ellipse(0, 0.48, 0.42, 0.26, darker(coat, 0.08))
    for angle in np.linspace(0, 2 * math.pi, 13)[:-1]:
        drawing.disc(
            0.38 * math.cos(angle),
            0.48 + 0.22 * math.sin(angle),
            0.12,
            lighter(coat, 0.1) if math.sin(angle) > 0 else coat,
        )
    drawing.ellipse(0, 0.5, 0.36, 0.22, coat)
    for x, y in ((-0.2, 0.56), (0.05, 0.6), (-0.05, 0.42), (0.22, 0.5), (-0.28, 0.42)):
        drawing.curve([(x - 0.06, y), (x, y + 0.05), (x + 0.06, y)], 0.022, darker(coat, 0.16))
    head = (0.5, 0.6) if action != "graze" else (0.52, 0.22)
    if action == "graze":
        drawing.limb([(0.36, 0.46), head], [0.2, 0.14], face)
    with drawing.moved(*head, turn=-20 if action != "graze" else -40):
        for side in (-1, 1):
            drawing.ellipse(side * 0.15, 0.05, 0.1, 0.045, darker(face, 0.2), turn=side * -16)
        drawing.ellipse(0.02, -0.03, 0.12, 0.17, face)
        for x in (-0.05, 0.0, 0.06):
            drawing.disc(x, 0.12, 0.07, coat)
        _eye(drawing, -0.02, 0.02, 0.022)
        _eye(drawing, 0.08, 0.02, 0.022)


def rabbit(drawing: Drawing, action: str, coat: Rgb, rng: np.random.Generator) -> None:
    if action == "jump":
        drawing.limb([(-0.24, 0.24), (-0.52, 0.06)], [0.16, 0.08], darker(coat, 0.14))
        drawing.limb([(0.22, 0.24), (0.42, 0.1)], [0.1, 0.07], coat)
    drawing.disc(-0.4, 0.3, 0.11, lighter(coat, 0.6))
    drawing.blob([(-0.36, 0.06), (-0.4, 0.34), (-0.12, 0.54), (0.2, 0.5), (0.3, 0.26), (0.22, 0.05)], coat)
    if action != "jump":
        drawing.ellipse(-0.14, 0.2, 0.22, 0.19, darker(coat, 0.08))
        drawing.limb([(-0.22, 0.05), (0.02, 0.04)], 0.09, darker(coat, 0.12))
        drawing.limb([(0.2, 0.26), (0.26, 0.05)], [0.1, 0.08], coat)
    with drawing.moved(0.3, 0.6):
        drawing.ellipse(-0.13, 0.32, 0.07, 0.27, darker(coat, 0.16), turn=16)
        drawing.ellipse(0.0, 0.34, 0.075, 0.28, coat, turn=2)
        drawing.ellipse(0.0, 0.34, 0.038, 0.2, (240, 170, 176), turn=2)
        drawing.ellipse(0.02, 0, 0.19, 0.165, coat)
        drawing.ellipse(0.12, -0.07, 0.1, 0.07, lighter(coat, 0.4))
        drawing.ellipse(0.2, -0.03, 0.03, 0.024, (220, 110, 124))
        _eye(drawing, 0.07, 0.05, 0.032)


def duck(drawing: Drawing, action: str, coat: Rgb, rng: np.random.Generator) -> None:
    drawing.blob([(-0.56, 0.34), (-0.4, 0.12), (0.0, 0.04), (0.34, 0.12), (0.4, 0.36), (0.1, 0.36), (-0.3, 0.34)], coat)
    drawing.limb([(0.24, 0.3), (0.3, 0.58)], [0.24, 0.16], coat)
    drawing.blob([(-0.42, 0.32), (-0.16, 0.14), (0.14, 0.2), (0.12, 0.34), (-0.16, 0.38)], darker(coat, 0.16))
    drawing.ellipse(0.32, 0.66, 0.17, 0.15, coat)
    drawing.blob([(0.44, 0.7), (0.64, 0.64), (0.66, 0.58), (0.44, 0.57)], (246, 150, 40))
    _eye(drawing, 0.37, 0.7, 0.026)


def bird(drawing: Drawing, action: str, coat: Rgb, rng: np.random.Generator) -> None:
    up = rng.random() < 0.5
    with drawing.moved(turn=rng.uniform(-4, 12)):
        far = [(-0.05, 0.05), (0.1, 0.1), (0.0, 0.5), (-0.16, 0.66), (-0.18, 0.36)]
        drawing.blob(far, darker(coat, 0.34))
        drawing.polygon([(-0.34, 0.04), (-0.7, 0.14), (-0.64, -0.0), (-0.72, -0.1), (-0.32, -0.06)], darker(coat, 0.18))
        drawing.blob([(-0.4, 0.0), (-0.1, 0.13), (0.3, 0.13), (0.42, 0.02), (0.2, -0.13), (-0.15, -0.12)], coat)
        drawing.ellipse(0.12, -0.06, 0.2, 0.07, lighter(coat, 0.5))
        drawing.ellipse(0.4, 0.1, 0.15, 0.13, coat)
        drawing.polygon([(0.52, 0.14), (0.72, 0.07), (0.53, 0.04)], (248, 176, 48))
        _eye(drawing, 0.44, 0.13, 0.026)
        if up:
            drawing.blob([(-0.16, 0.04), (0.16, 0.06), (-0.05, 0.5), (-0.34, 0.74), (-0.34, 0.34)], darker(coat, 0.14))
        else:
            drawing.blob(
                [(-0.18, 0.06), (0.16, 0.06), (0.02, -0.36), (-0.28, -0.58), (-0.3, -0.24)], darker(coat, 0.14)
            )
