"""Men, women, boys and girls, in the pose of what they do."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from src.data.scenes.colours import HAIRS, INK, SKINS, TROUSERS, Rgb, darker, lighter
from src.data.scenes.drawing import Drawing, Point, arc


@dataclass(frozen=True)
class Pose:
    """Degrees from straight down, forward positive: (upper, lower) part of every limb; `lean` of the trunk."""

    near_leg: tuple[float, float] = (6, 2)
    far_leg: tuple[float, float] = (-7, -3)
    near_arm: tuple[float, float] = (-10, 4)
    far_arm: tuple[float, float] = (14, 24)
    lean: float = 0.0


POSES: dict[str, Pose] = {
    "stand": Pose(),
    "walk": Pose((24, 12), (-20, -36), (-26, -8), (26, 42), 3),
    "run": Pose((68, -6), (-34, -98), (-52, 32), (48, 128), 16),
    "jump": Pose((62, -38), (-24, -88), (148, 164), (-146, -164), 4),
    "sit": Pose((84, 66), (98, 38), (28, 62), (-30, -22), -6),
    "wave": Pose((8, 3), (-8, -3), (96, 140), (-14, -4), -3),
    "lie": Pose((8, 4), (-10, 24), (150, 210), (-14, -4), 0),
    "kick": Pose((52, 36), (-12, -16), (-46, -24), (42, 62), -8),
    "reach": Pose((10, 4), (-12, -6), (62, 88), (52, 82), 3),
    "umbrella": Pose((7, 3), (-8, -3), (34, 132), (-8, 4), 0),
    "kite": Pose((20, 8), (-18, -26), (126, 134), (-22, -6), -6),
    "cycle": Pose((64, -22), (26, -34), (58, 66), (52, 62), 26),
    "ride": Pose((54, -6), (48, -12), (40, 78), (34, 72), -2),
}


@dataclass(frozen=True)
class Build:
    """Lengths of a body, in heights of a standing adult."""

    thigh: float
    shin: float
    trunk: float
    upper_arm: float
    forearm: float
    head: float
    shoulder: float
    leg: float
    arm: float


ADULT = Build(0.24, 0.24, 0.32, 0.165, 0.15, 0.112, 0.115, 0.088, 0.064)
CHILD = Build(0.145, 0.135, 0.23, 0.115, 0.105, 0.148, 0.09, 0.082, 0.06)


@dataclass(frozen=True)
class Body:
    """Where the joints of a drawn person lie; the hip is the origin."""

    hand: Point
    far_hand: Point
    foot: Point
    shoulder: Point
    head: Point


def person(drawing: Drawing, kind: str, action: str, clothing: str, colour: Rgb, rng: np.random.Generator) -> Body:
    """Draw a man, woman, boy or girl with the hip at the origin.

    Args:
        action: one of POSES.
        clothing: 'shirt' or 'dress', painted in `colour`.
    """
    pose, build = POSES[action], CHILD if kind in ("boy", "girl") else ADULT
    skin, hair = SKINS[rng.integers(len(SKINS))], HAIRS[rng.integers(len(HAIRS))]
    trousers = TROUSERS[rng.integers(len(TROUSERS))]
    bare_legs = clothing == "dress" or kind in ("boy", "girl")
    up = (math.sin(math.radians(pose.lean)), math.cos(math.radians(pose.lean)))
    shoulder = (up[0] * build.trunk, up[1] * build.trunk)
    neck = build.trunk + 0.02
    head = (up[0] * (neck + build.head * 0.9), up[1] * (neck + build.head * 0.9))
    if kind in ("woman", "girl"):
        _hair_behind(drawing, kind, head, build.head, hair)
    far_hand = _arm(drawing, shoulder, pose.far_arm, build, darker(skin, 0.14), darker(colour, 0.3))
    far_foot = _leg(drawing, pose.far_leg, build, darker(skin, 0.14), darker(trousers, 0.3), bare_legs, clothing)
    foot = _leg(drawing, pose.near_leg, build, skin, trousers, bare_legs, clothing)
    _shoe(drawing, far_foot, pose.far_leg[1], build)
    _shoe(drawing, foot, pose.near_leg[1], build)
    drawing.limb([shoulder, (up[0] * (neck + 0.05), up[1] * (neck + 0.05))], build.arm, darker(skin, 0.1))
    _trunk(drawing, pose, build, up, clothing, colour)
    with drawing.moved(*head, turn=-pose.lean * 0.6):
        _head(drawing, kind, build.head, skin, hair, rng)
    hand = _arm(drawing, shoulder, pose.near_arm, build, skin, darker(colour, 0.14))
    return Body(hand, far_hand, foot, shoulder, head)


def _towards(start: Point, angle: float, length: float) -> Point:
    return start[0] + length * math.sin(math.radians(angle)), start[1] - length * math.cos(math.radians(angle))


def _arm(drawing: Drawing, shoulder: Point, angles: tuple[float, float], build: Build, skin: Rgb, sleeve: Rgb) -> Point:
    start = (shoulder[0], shoulder[1] - 0.02)
    elbow = _towards(start, angles[0], build.upper_arm)
    hand = _towards(elbow, angles[1], build.forearm)
    drawing.limb([start, elbow, hand], [build.arm, build.arm * 0.95, build.arm * 0.75], skin)
    drawing.disc(*hand, build.arm * 0.52, skin)
    drawing.limb([start, _towards(start, angles[0], build.upper_arm * 0.75)], build.arm * 1.2, sleeve)
    return hand


def _leg(
    drawing: Drawing, angles: tuple[float, float], build: Build, skin: Rgb, cloth: Rgb, bare: bool, clothing: str
) -> Point:
    knee = _towards((0, 0), angles[0], build.thigh)
    foot = _towards(knee, angles[1], build.shin)
    drawing.limb([(0, 0), knee, foot], [build.leg * 1.25, build.leg, build.leg * 0.78], skin if bare else cloth)
    if bare and clothing == "shirt":
        drawing.limb([(0, 0), _towards((0, 0), angles[0], build.thigh * 0.95)], build.leg * 1.4, cloth)
    return foot


def _shoe(drawing: Drawing, foot: Point, angle: float, build: Build) -> None:
    with drawing.moved(*foot, turn=angle):
        drawing.ellipse(build.leg * 0.35, -0.005, build.leg * 0.85, build.leg * 0.4, INK)


def _trunk(drawing: Drawing, pose: Pose, build: Build, up: Point, clothing: str, colour: Rgb) -> None:
    across = (up[1], -up[0])

    def at(side: float, height: float) -> Point:
        return up[0] * height + across[0] * side, up[1] * height + across[1] * side

    waist, wide, top = build.shoulder * 0.82, build.shoulder, build.trunk + 0.015
    drawing.polygon(
        [
            at(-waist, -0.02),
            at(waist, -0.02),
            at(wide, top - 0.05),
            at(wide * 0.6, top),
            at(-wide * 0.6, top),
            at(-wide, top - 0.05),
        ],
        colour,
    )
    if clothing == "dress":
        mean = math.radians((pose.near_leg[0] + pose.far_leg[0]) / 2)
        spread = math.radians(abs(pose.near_leg[0] - pose.far_leg[0]) / 2)
        length = build.thigh + (0.3 if build is ADULT else 0.1) * build.shin
        hem = (length * math.sin(mean), -length * math.cos(mean))
        half = max(build.shoulder * 1.75, 0.8 * length * math.sin(spread))
        side = (math.cos(mean) * half, math.sin(mean) * half)
        drawing.blob(
            [
                at(-waist, 0.04),
                at(waist, 0.04),
                (hem[0] + side[0], hem[1] + side[1]),
                hem,
                (hem[0] - side[0], hem[1] - side[1]),
            ],
            colour,
        )
        drawing.limb([at(-waist, 0.04), at(waist, 0.04)], 0.025, darker(colour, 0.35))


def _hair_behind(drawing: Drawing, kind: str, head: Point, r: float, hair: Rgb) -> None:
    x, y = head
    if kind == "woman":
        drawing.blob(
            [
                (x - 0.2 * r, y + 1.1 * r),
                (x + 0.8 * r, y + 0.5 * r),
                (x + 0.3 * r, y - 1.2 * r),
                (x - 1.0 * r, y - 2.1 * r),
                (x - 1.45 * r, y - 1.1 * r),
                (x - 1.15 * r, y + 0.4 * r),
            ],
            darker(hair, 0.15),
        )
    else:
        for side in (-1, 1):
            drawing.ellipse(x + side * 1.25 * r, y - 0.35 * r, 0.36 * r, 0.78 * r, darker(hair, 0.1), turn=side * 24)
            drawing.disc(x + side * 1.02 * r, y + 0.28 * r, 0.2 * r, (226, 70, 96))


def _head(drawing: Drawing, kind: str, r: float, skin: Rgb, hair: Rgb, rng: np.random.Generator) -> None:
    drawing.ellipse(0, 0, r * 0.95, r, skin)
    drawing.disc(-0.8 * r, -0.1 * r, 0.2 * r, darker(skin, 0.08))
    bearded = kind == "man" and rng.random() < 0.6
    if bearded:
        drawing.polygon(
            [*arc(0.06 * r, -0.12 * r, 0.95 * r, 0.98 * r, 185, 352), (0.6 * r, -0.32 * r), (-0.2 * r, -0.36 * r)], hair
        )
    for eye in (0.12, 0.6):
        drawing.ellipse(eye * r, 0.06 * r, 0.09 * r, 0.14 * r, INK)
    mouth = (190, 70, 70) if not bearded else (230, 150, 140)
    drawing.limb(arc(0.36 * r, -0.32 * r, 0.26 * r, 0.2 * r, 200, 340, 8), 0.09 * r, mouth)
    drawing.disc(0.82 * r, -0.08 * r, 0.13 * r, darker(skin, 0.06))
    style = rng.random()
    fringe: list[Point] = [(0.75 * r, 0.42 * r), (0.2 * r, 0.5 * r), (-0.45 * r, 0.3 * r), (-0.85 * r, -0.15 * r)]
    drawing.polygon(arc(-0.05 * r, 0.06 * r, 1.02 * r, 1.06 * r, 22, 188) + fringe[::-1], hair)
    if kind == "boy" and style < 0.45:
        cap = ((214, 64, 60), (52, 96, 180), (60, 140, 84))[rng.integers(3)]
        drawing.polygon(arc(-0.05 * r, 0.2 * r, 1.06 * r, 0.98 * r, 0, 180), cap)
        drawing.limb([(0.5 * r, 0.24 * r), (1.5 * r, 0.2 * r)], 0.2 * r, darker(cap))
    elif kind == "man" and style < 0.3:
        straw = (196, 160, 104)
        drawing.polygon(arc(-0.02 * r, 0.36 * r, 0.82 * r, 0.98 * r, 0, 180), straw)
        drawing.ellipse(0, 0.4 * r, 1.5 * r, 0.2 * r, darker(straw, 0.12))
    elif kind == "woman":
        drawing.polygon([*arc(-0.05 * r, 0.1 * r, 1.06 * r, 1.08 * r, 60, 214), (-0.5 * r, -0.1 * r)], hair)
        drawing.limb(arc(0.36 * r, -0.33 * r, 0.2 * r, 0.13 * r, 200, 340, 6), 0.12 * r, (206, 48, 66))
    else:
        drawing.limb([(-0.2 * r, 0.98 * r), (0.3 * r, 1.08 * r)], 0.16 * r, lighter(hair, 0.1))
