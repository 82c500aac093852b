"""Colours by their everyday names, with the small variety that paint, cloth and fur have."""

from __future__ import annotations

import colorsys
from itertools import pairwise

import numpy as np

Rgb = tuple[int, int, int]

# Hue in degrees, saturation and value in per cent: the middle of what people call by the name.
NAMED: dict[str, tuple[float, float, float]] = {
    "red": (357, 84, 84),
    "orange": (25, 90, 96),
    "yellow": (50, 84, 98),
    "green": (135, 68, 58),
    "blue": (217, 80, 86),
    "purple": (276, 62, 66),
    "pink": (336, 46, 98),
    "brown": (24, 62, 50),
    "black": (230, 18, 15),
    "white": (40, 3, 98),
    "grey": (215, 7, 58),
}
BRIGHT = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")

SKINS: tuple[Rgb, ...] = ((250, 214, 184), (236, 188, 150), (202, 146, 104), (150, 98, 66), (108, 70, 48))
HAIRS: tuple[Rgb, ...] = ((44, 32, 28), (88, 54, 32), (140, 88, 44), (222, 180, 96), (176, 82, 40))
TROUSERS: tuple[Rgb, ...] = ((52, 64, 98), (88, 92, 104), (120, 96, 70), (66, 58, 54), (150, 138, 112))
INK: Rgb = (38, 34, 40)


def shade_of(name: str, rng: np.random.Generator) -> Rgb:
    """One paint that people call `name`."""
    hue, saturation, value = NAMED[name]
    red, green, blue = colorsys.hsv_to_rgb(
        ((hue + rng.uniform(-5, 5)) % 360) / 360,
        _clip(saturation * rng.uniform(0.94, 1.06) / 100),
        _clip(value * rng.uniform(0.95, 1.04) / 100),
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def name_of(rgb: Rgb) -> str:
    """The named colour that `rgb` lies closest to."""
    return min(NAMED, key=lambda name: _distance(rgb, _middle(name)))


def lighter(rgb: Rgb, amount: float = 0.25) -> Rgb:
    """`rgb` moved by a share of the way to white; a negative amount moves it to black."""
    target = 255 if amount > 0 else 0
    red, green, blue = (round(part + (target - part) * abs(amount)) for part in rgb)
    return red, green, blue


def darker(rgb: Rgb, amount: float = 0.22) -> Rgb:
    return lighter(rgb, -amount)


def ramp(stops: list[tuple[float, Rgb]], at: np.ndarray) -> np.ndarray:
    """Colours [..., 3] at positions `at`, linear between the stops (position, colour), which must rise."""
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(stops)):
        raise ValueError(f"the stops of a ramp must rise, got {[position for position, _ in stops]}")
    where = [position for position, _ in stops]
    return np.stack([np.interp(at, where, [rgb[part] for _, rgb in stops]) for part in range(3)], axis=-1)


def _middle(name: str) -> Rgb:
    hue, saturation, value = NAMED[name]
    red, green, blue = colorsys.hsv_to_rgb(hue / 360, saturation / 100, value / 100)
    return round(255 * red), round(255 * green), round(255 * blue)


def _distance(one: Rgb, other: Rgb) -> float:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
