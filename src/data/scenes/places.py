"""The places where scenes happen: their sky, ground and water, and where things may stand, float and fly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.data.scenes.colours import Rgb, darker, lighter, ramp

Band = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """Heights in fractions of the image, 0 at the top.

    Attributes:
        ground: where feet and wheels may stand.
        water: where hulls and swimmers may float, if there is water.
    """

    name: str
    horizon: float
    ground: Band
    water: Band | None = None


PLACES = {
    place.name: place
    for place in (
        Place("park", 0.46, (0.66, 0.95)),
        Place("beach", 0.40, (0.76, 0.95), (0.54, 0.63)),
        Place("lake", 0.40, (0.90, 0.96), (0.62, 0.78)),
        Place("snow", 0.50, (0.66, 0.95)),
        Place("street", 0.58, (0.72, 0.95)),
        Place("field", 0.46, (0.66, 0.95)),
        Place("night", 0.58, (0.72, 0.95)),
        Place("mountains", 0.56, (0.70, 0.95)),
    )
}
WEATHERS = ("clear", "sunny", "cloudy")

# Sky from zenith to horizon.
_SKIES: dict[str, tuple[Rgb, Rgb]] = {
    "clear": ((104, 172, 232), (206, 232, 246)),
    "sunny": ((84, 166, 240), (240, 240, 220)),
    "cloudy": ((150, 168, 188), (220, 226, 232)),
}
_NIGHT: tuple[Rgb, Rgb] = ((14, 18, 52), (58, 64, 118))


def backdrop(place: Place, weather: str, side: int, rng: np.random.Generator) -> Image.Image:
    """The empty place, `side` x `side` pixels, RGB."""
    sky = _NIGHT if place.name == "night" else _SKIES[weather]
    horizon = place.horizon * side
    rows = np.arange(side) / side
    picture = Image.fromarray(
        np.broadcast_to(ramp([(0, sky[0]), (place.horizon, sky[1])], rows)[:, None], (side, side, 3)).astype(np.uint8)
    )
    if place.name == "night":
        _stars(picture, side, rng)
    elif weather == "sunny":
        _glow(picture, side * rng.uniform(0.1, 0.9), side * rng.uniform(0.08, 0.16), side * 0.055, (255, 226, 110))
    if weather == "cloudy" or (weather == "clear" and place.name != "night"):
        _clouds(picture, side, 5 if weather == "cloudy" else 1, rng)
    _GROUNDS[place.name](picture, horizon, side, rng)
    return picture


def grain(side: int, rng: np.random.Generator) -> np.ndarray:
    """Uneven light [side, side], about 1, as paper and film have: patches with a little noise."""
    coarse = Image.fromarray(rng.normal(0, 1, (9, 9)).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    return 1 + 0.022 * np.asarray(coarse) + rng.normal(0, 0.003, (side, side))


def _glow(picture: Image.Image, x: float, y: float, radius: float, colour: Rgb) -> None:
    halo = Image.new("L", picture.size)
    ImageDraw.Draw(halo).ellipse((x - 2 * radius, y - 2 * radius, x + 2 * radius, y + 2 * radius), fill=120)
    picture.paste(lighter(colour, 0.4), mask=halo.filter(ImageFilter.GaussianBlur(radius * 0.7)))
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _stars(picture: Image.Image, side: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    for x, y, r in zip(*rng.uniform(0, side, (2, 60)), rng.uniform(1.2, 3.2, 60), strict=True):
        if y < 0.55 * side:
            pen.ellipse((x - r, y - r, x + r, y + r), fill=(240, 240, 220))
    x, y, r = side * rng.uniform(0.12, 0.88), side * rng.uniform(0.1, 0.16), side * 0.062
    _glow(picture, x, y, r, (248, 242, 208))
    pen = ImageDraw.Draw(picture)
    for dx, dy, share in ((-0.3, -0.2, 0.2), (0.35, 0.2, 0.26), (-0.1, 0.5, 0.14)):
        cx, cy, cr = x + dx * r, y + dy * r, share * r
        pen.ellipse((cx - cr, cy - cr, cx + cr, cy + cr), fill=(226, 218, 182))


def _clouds(picture: Image.Image, side: int, count: int, rng: np.random.Generator) -> None:
    cover = Image.new("L", picture.size)
    pen = ImageDraw.Draw(cover)
    for index in range(count):
        x = side * ((index + rng.uniform(0.1, 0.9)) / count)
        y = side * rng.uniform(0.05, 0.24)
        wide = side * rng.uniform(0.1, 0.15)
        for _ in range(7):
            dx, r = rng.uniform(-1, 1) * wide, wide * rng.uniform(0.22, 0.42)
            lift = (1 - abs(dx) / wide) * wide * 0.28
            pen.ellipse((x + dx - r, y - lift - r, x + dx + r, y - lift + r * 0.7), fill=225)
    picture.paste((252, 252, 252), mask=cover.filter(ImageFilter.GaussianBlur(side * 0.006)))


def _ridge(side: int, level: float, height: float, waves: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """A rolling line across the picture, closed along its lower border."""
    phase, tilt = rng.uniform(0, 7, 3), rng.uniform(0.6, 1.4, 3)
    line = [(0.0, float(side))]
    for x in np.linspace(0, 1, 60):
        wave = sum(math.sin(phase[k] + x * waves * tilt[k] * (k + 1)) / (k + 1) for k in range(3))
        line.append((float(x * side), float(level - height * (0.5 + 0.33 * wave))))
    return [*line, (float(side), float(side))]


def _floor(picture: Image.Image, top: float, far: Rgb, near: Rgb, side: int) -> None:
    """Level ground from `top` down, fading with distance."""
    rows = np.arange(int(top), side)
    fade = ramp([(top - 1, far), (side, near)], rows)
    strip = np.broadcast_to(fade[:, None], (len(rows), side, 3)).astype(np.uint8)
    picture.paste(Image.fromarray(np.ascontiguousarray(strip)), (0, int(top)))


def _tufts(picture: Image.Image, top: float, side: int, colour: Rgb, count: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    for _ in range(count):
        y = top + (side - top) * math.sqrt(rng.uniform(0.01, 1))
        x, size = rng.uniform(0, side), side * 0.005 + 0.02 * (y - top)
        tone = lighter(colour, rng.uniform(-0.12, 0.12))
        for lean in (-0.6, 0, 0.6):
            pen.line((x, y, x + lean * size, y - size), fill=tone, width=3)


def _park(picture: Image.Image, horizon: float, side: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    pen.polygon(_ridge(side, horizon + 10, side * 0.16, 14, rng), fill=(150, 192, 150))
    pen.polygon(_ridge(side, horizon + 14, side * 0.1, 26, rng), fill=(112, 166, 110))
    _floor(picture, horizon, (150, 200, 96), (98, 164, 66), side)
    if rng.random() < 0.5:
        x, lean = side * rng.uniform(0.2, 0.8), side * rng.uniform(-0.3, 0.3)
        pen.polygon(
            [(x - 8, horizon), (x + 8, horizon), (x + lean + side * 0.2, side), (x + lean - side * 0.16, side)],
            fill=(222, 202, 160),
        )
    _tufts(picture, horizon, side, (86, 150, 60), 60, rng)
    for _ in range(14):
        x, y = rng.uniform(0, side), rng.uniform(horizon + 30, side)
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(250, 246, 220))


def _beach(picture: Image.Image, horizon: float, side: int, rng: np.random.Generator) -> None:
    shore = 0.66 * side
    _floor(picture, horizon, (62, 140, 190), (108, 206, 214), side)
    pen = ImageDraw.Draw(picture)
    _ripples(picture, horizon, shore, side, (170, 222, 232), 26, rng)
    wet = _ridge(side, shore + 16, 26, 8, rng)
    pen.polygon([(x, y + 12) if y < side else (x, y) for x, y in wet], fill=(212, 190, 146))
    pen.line(wet[1:-1], fill=(250, 252, 250), width=12)
    sand = [(x, y + 22) if y < side else (x, y) for x, y in wet]
    cover = Image.new("L", picture.size)
    ImageDraw.Draw(cover).polygon(sand, fill=255)
    floor = picture.copy()
    _floor(floor, shore - 30, (240, 222, 174), (226, 198, 140), side)
    picture.paste(floor, mask=cover)
    pen = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y = rng.uniform(0, side), rng.uniform(shore + 50, side)
        pen.ellipse((x - 3, y - 2, x + 3, y + 2), fill=(206, 176, 122))


def _ripples(
    picture: Image.Image, top: float, bottom: float, side: int, colour: Rgb, count: int, rng: np.random.Generator
) -> None:
    pen = ImageDraw.Draw(picture)
    for _ in range(count):
        y = rng.uniform(top + 8, bottom)
        x, length = rng.uniform(-0.1, 1) * side, side * rng.uniform(0.04, 0.14)
        pen.arc((x, y - 5, x + length / 2, y + 5), 0, 180, fill=colour, width=3)
        pen.arc((x + length / 2, y - 5, x + length, y + 5), 180, 360, fill=colour, width=3)


def _lake(picture: Image.Image, horizon: float, side: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    pen.polygon(_ridge(side, horizon, side * 0.18, 7, rng), fill=(126, 164, 160))
    pen.polygon(_ridge(side, horizon + 6, side * 0.09, 15, rng), fill=(84, 138, 104))
    _floor(picture, horizon, (110, 176, 204), (44, 116, 166), side)
    _ripples(picture, horizon, 0.82 * side, side, (160, 208, 226), 34, rng)
    pen = ImageDraw.Draw(picture)
    shore = _ridge(side, 0.86 * side, 24, 6, rng)
    pen.polygon([(x, y - 7) if y < side else (x, y) for x, y in shore], fill=(176, 156, 112))
    pen.polygon(shore, fill=(116, 176, 76))
    _tufts(picture, 0.86 * side, side, (84, 146, 58), 26, rng)


def _snow(picture: Image.Image, horizon: float, side: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    pen.polygon(_ridge(side, horizon + 10, side * 0.2, 6, rng), fill=(206, 220, 236))
    _floor(picture, horizon + 4, (226, 234, 246), (246, 248, 252), side)
    for level, tone in ((0.62, (216, 226, 242)), (0.8, (226, 234, 246))):
        pen.line(_ridge(side, level * side, 30, 5, rng)[1:-1], fill=tone, width=14)
    for x, y, r in zip(*rng.uniform(0, side, (2, 70)), rng.uniform(2.5, 5.5, 70), strict=True):
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))


def _street(picture: Image.Image, horizon: float, side: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    x = -0.05 * side
    walls: tuple[Rgb, ...] = ((176, 168, 172), (150, 158, 172), (190, 176, 160), (164, 150, 150))
    while x < side:
        wide, high = side * rng.uniform(0.13, 0.22), side * rng.uniform(0.2, 0.44)
        wall = walls[rng.integers(len(walls))]
        pen.rectangle((x, horizon - high, x + wide, horizon), fill=wall)
        pane = wide / 4.4
        lit = lighter(wall, 0.42) if rng.random() < 0.6 else darker(wall, 0.3)
        for column in range(3):
            for row in range(int(high / (1.5 * pane)) or 1):
                left, top = x + pane * (0.6 + 1.25 * column), horizon - high + pane * (0.5 + 1.4 * row)
                if top + pane < horizon - 6:
                    pen.rectangle((left, top, left + pane * 0.7, top + pane * 0.85), fill=lit)
        x += wide + side * 0.008
    pen.rectangle((0, horizon, side, 0.66 * side), fill=(190, 186, 180))
    _floor(picture, 0.66 * side, (112, 114, 122), (88, 90, 98), side)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0.66 * side, side, 0.672 * side), fill=(224, 222, 216))
    start = rng.uniform(-0.2, 0)
    for k in range(6):
        left = (start + 0.25 * k) * side
        pen.polygon(
            [
                (left, 0.84 * side),
                (left + 0.13 * side, 0.84 * side),
                (left + 0.12 * side, 0.856 * side),
                (left - 0.01 * side, 0.856 * side),
            ],
            fill=(232, 226, 200),
        )


def _field(picture: Image.Image, horizon: float, side: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    pen.polygon(_ridge(side, horizon + 6, side * 0.1, 6, rng), fill=(158, 182, 116))
    _floor(picture, horizon, (240, 214, 124), (214, 172, 66), side)
    pen = ImageDraw.Draw(picture)
    vanish = side * rng.uniform(0.3, 0.7)
    for x in np.linspace(-1.4, 2.4, 26):
        pen.line((vanish + (x * side - vanish) * 0.12, horizon, x * side, side), fill=(206, 166, 70), width=4)
    _tufts(picture, horizon + 20, side, (196, 150, 52), 170, rng)
    post = 0.5 * side
    for x in np.arange(rng.uniform(0, 60), side, 76):
        pen.rectangle((x, post - 34, x + 9, post + 16), fill=(140, 104, 72))
    for y in (post - 22, post - 2):
        pen.rectangle((0, y, side, y + 6), fill=(156, 118, 84))


def _night(picture: Image.Image, horizon: float, side: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    pen.polygon(_ridge(side, horizon + 8, side * 0.13, 7, rng), fill=(34, 42, 84))
    _floor(picture, horizon, (48, 78, 92), (36, 70, 66), side)
    _tufts(picture, horizon, side, (54, 96, 88), 60, rng)


def _mountains(picture: Image.Image, horizon: float, side: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(picture)
    for x in sorted(rng.uniform(0.02, 0.98, 4), key=lambda x: abs(x - 0.5), reverse=True):
        high, half = side * rng.uniform(0.3, 0.44), side * rng.uniform(0.24, 0.34)
        middle, peak = x * side, horizon - high
        tone: Rgb = (116 + int(rng.integers(20)), 128, 156)
        pen.polygon([(middle - half, horizon + 6), (middle, peak), (middle + half, horizon + 6)], fill=tone)
        pen.polygon(
            [(middle, peak), (middle + half, horizon + 6), (middle + half * 0.1, horizon + 6)], fill=darker(tone, 0.16)
        )
        cap = [(0, 0), (-0.3, 0.3), (-0.14, 0.25), (-0.02, 0.35), (0.1, 0.24), (0.3, 0.3)]
        pen.polygon([(middle + dx * half, peak + dy * high) for dx, dy in cap], fill=(248, 250, 254))
    pen.polygon(_ridge(side, horizon + 12, side * 0.06, 18, rng), fill=(88, 132, 96))
    _floor(picture, horizon + 4, (140, 186, 104), (104, 160, 80), side)
    _tufts(picture, horizon, side, (88, 144, 66), 60, rng)


_GROUNDS = {
    "park": _park,
    "beach": _beach,
    "lake": _lake,
    "snow": _snow,
    "street": _street,
    "field": _field,
    "night": _night,
    "mountains": _mountains,
}
