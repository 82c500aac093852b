"""One actor of a scene, alone or with what it holds, rides or plays with, as a drawing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from src.data.scenes import animals, things, vehicles
from src.data.scenes.colours import HAIRS, SKINS, darker, shade_of
from src.data.scenes.drawing import Drawing, Extent
from src.data.scenes.kinds import KINDS
from src.data.scenes.people import person

Size = Literal["small", "medium", "big"]
Frame = tuple[float, float, float, float]
"""left, top, right, bottom in fractions of the picture."""
STRING = "string"
"""Part that is drawn but is no object of its own."""


@dataclass(frozen=True)
class Actor:
    """
    Attributes:
        colour: of the coat, the paint, or the shirt or dress.
        action: a verb of `kinds`, or with an item: 'umbrella', 'kite', 'kick', 'reach', 'cycle', 'ride'.
        x: middle of its box, in fractions of the width.
        base: bottom of its box, in fractions of the height.
        span: larger side of its own box (without its item), in fractions of the picture.
        air: how far it has left the ground, in fractions of the height.
        seed: of everything that has no word: skin, hair, spots, slight turns.
    """

    kind: str
    colour: str
    action: str
    size: Size
    x: float
    base: float
    span: float
    mirrored: bool
    seed: int
    clothing: str = ""
    item: str = ""
    item_colour: str = ""
    air: float = 0.0


ITEM_OF = {"umbrella": "umbrella", "kite": "kite", "kick": "ball", "reach": "ball", "cycle": "bicycle", "ride": "horse"}


def frames(actor: Actor) -> dict[str, Frame]:
    """The rectangle of the actor ('man') and of its item ('kite'), tight round what is drawn, hidden parts included."""
    drawing = drawing_of(actor)
    scale, x, y = placement(actor)
    found: dict[str, Frame] = {}
    for part in drawing.parts:
        if part != STRING:
            extent = drawing.extent(part)
            behind, ahead = (-extent.right, -extent.left) if actor.mirrored else (extent.left, extent.right)
            found[part] = (x + scale * behind, y - scale * extent.top, x + scale * ahead, y - scale * extent.bottom)
    return found


def placement(actor: Actor) -> tuple[float, float, float]:
    """Length of the drawing's unit and the place of its origin, in fractions of the picture."""
    drawing = drawing_of(actor)
    own, whole = drawing.extent(actor.kind), drawing.extent()
    scale = actor.span / own.larger_side
    middle = (own.left + own.right) / 2 * (-1 if actor.mirrored else 1)
    return scale, actor.x - scale * middle, actor.base + scale * whole.bottom


def extent_of(actor: Actor) -> Extent:
    """How far the actor reaches without its item, in the drawing's units."""
    return drawing_of(actor).extent(actor.kind)


@lru_cache(maxsize=64)
def drawing_of(actor: Actor) -> Drawing:
    """The actor's shapes; its own part bears the kind's name, the item's part the item's."""
    rng = np.random.default_rng(actor.seed)
    colour = shade_of(actor.colour, rng)
    drawing = Drawing(actor.kind)
    draw = KINDS[actor.kind].draw
    if draw is not None:
        with drawing.moved(turn=rng.uniform(-2, 2)):
            draw(drawing, actor.action, colour, rng)
        return drawing
    if actor.action == "swim":
        _swimmer(drawing, rng)
        return drawing
    item = shade_of(actor.item_colour, rng) if actor.item else colour
    child = actor.kind in ("boy", "girl")

    def figure() -> tuple[float, float]:
        return person(drawing, actor.kind, actor.action, actor.clothing, colour, rng).hand

    if actor.action == "cycle":
        scale = 0.78 if child else 1.08
        with drawing.part("bicycle"), drawing.moved(scale=scale):
            vehicles.bicycle(drawing, "", item, rng)
        with drawing.moved(-0.14 * scale, 0.6 * scale):
            figure()
    elif actor.action == "ride":
        with drawing.part("horse"):
            animals.horse(drawing, "walk", item, rng)
        with drawing.moved(-0.04, 0.84, scale=0.92):
            figure()
    elif actor.action == "lie":
        with drawing.moved(turn=90):
            figure()
    elif actor.action == "umbrella":
        x, y = figure()
        with drawing.part("umbrella"), drawing.moved(x, y, turn=-6, scale=0.95 if child else 1.05):
            things.umbrella(drawing, "", item, rng)
    elif actor.action == "kite":
        x, y = figure()
        away = (x + rng.uniform(0.45, 0.6), y + rng.uniform(0.5, 0.62))
        with drawing.part(STRING):
            drawing.curve([(x, y), ((x + away[0]) / 2 + 0.08, (y + away[1]) / 2 - 0.1), away], 0.014, (90, 84, 88))
        with drawing.part("kite"), drawing.moved(*away, turn=-20, scale=0.62):
            things.kite(drawing, "", item, rng)
    else:
        x, y = figure()
        floor = drawing.extent().bottom
        radius = 0.125
        spot = (x + radius * 0.9, y - radius) if actor.action == "reach" else (0.36 if child else 0.46, floor)
        if actor.action in ("kick", "reach"):
            with drawing.part("ball"), drawing.moved(*spot, scale=2 * radius):
                things.ball(drawing, "", item, rng)
    return drawing


def _swimmer(drawing: Drawing, rng: np.random.Generator) -> None:
    skin, hair = SKINS[rng.integers(len(SKINS))], HAIRS[rng.integers(len(HAIRS))]
    drawing.limb([(-0.62, 0.03), (-0.2, 0.07), (0.06, 0.1)], [0.08, 0.16, 0.2], darker(skin, 0.12))
    drawing.limb([(-0.16, 0.08), (0.0, 0.1)], 0.19, darker(skin, 0.05))
    drawing.disc(0.2, 0.2, 0.155, skin)
    drawing.polygon([(0.05, 0.2), (0.04, 0.3), (0.16, 0.38), (0.3, 0.35), (0.34, 0.27), (0.2, 0.27)], hair)
    drawing.disc(0.29, 0.21, 0.02, (38, 34, 40))
    drawing.limb([(-0.02, 0.12), (0.06, 0.44), (0.46, 0.3), (0.56, 0.06)], [0.11, 0.095, 0.08, 0.06], skin)
    for x in (-0.66, -0.5, 0.56, 0.62):
        drawing.curve([(x - 0.14, 0.02), (x - 0.05, 0.06), (x + 0.05, 0.0), (x + 0.14, 0.03)], 0.04, (236, 248, 252))
