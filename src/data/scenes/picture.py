"""A scene as pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.data.scenes.actor import Actor, drawing_of, frames, placement
from src.data.scenes.composition import Scene
from src.data.scenes.drawing import rasterise
from src.data.scenes.kinds import KINDS
from src.data.scenes.places import PLACES, backdrop, grain

SIDE = 224
OVERSAMPLING = 3


def paint(scene: Scene) -> Image.Image:
    """The scene, SIDE x SIDE pixels, RGB. The same scene always gives the same pixels."""
    rng = np.random.default_rng(scene.seed)
    side = SIDE * OVERSAMPLING
    picture = backdrop(PLACES[scene.place], scene.weather, side, rng)
    for actor in scene.actors:
        if KINDS[actor.kind].realm != "sky":
            _shadow(picture, actor)
        for layer in _layers(actor, side):
            if scene.place == "night":
                layer = Image.merge(
                    "RGBA",
                    [
                        band.point(lambda v, k=k: int(v * k))
                        for band, k in zip(layer.split(), (0.86, 0.88, 0.98, 1.0), strict=True)
                    ],
                )
            picture.paste(layer, mask=layer)
    small = np.asarray(picture.reduce(OVERSAMPLING), dtype=np.float32)
    return Image.fromarray(np.clip(small * grain(SIDE, rng)[..., None], 0, 255).astype(np.uint8))


def silhouette(actor: Actor, part: str) -> Image.Image:
    """Coverage (mode L, SIDE x SIDE) of one part of an actor, as if nothing stood in front of it."""
    side = SIDE * OVERSAMPLING
    scale, x, y = placement(actor)
    layer = rasterise(drawing_of(actor), part, scale * side, x * side, y * side, actor.mirrored, side)
    return layer.getchannel("A").reduce(OVERSAMPLING)


def _layers(actor: Actor, side: int) -> list[Image.Image]:
    drawing = drawing_of(actor)
    scale, x, y = placement(actor)
    return [rasterise(drawing, part, scale * side, x * side, y * side, actor.mirrored, side) for part in drawing.parts]


def _shadow(picture: Image.Image, actor: Actor) -> None:
    """A soft dark patch where the actor stands, or over which it jumps."""
    side = picture.width
    for part, (left, _, right, bottom) in frames(actor).items():
        if part == "umbrella" or (part == "kite") or (part == actor.kind and actor.action in ("cycle", "ride")):
            continue
        ground = (actor.base + actor.air if part == actor.kind else bottom) * side
        middle, half = (left + right) / 2 * side, max(0.42 * (right - left), 0.03) * side
        cover = Image.new("L", picture.size)
        ImageDraw.Draw(cover).ellipse(
            (middle - half, ground - 0.1 * half, middle + half, ground + 0.12 * half), fill=105
        )
        picture.paste((24, 26, 44), mask=cover.filter(ImageFilter.GaussianBlur(max(2.0, half * 0.06))))
