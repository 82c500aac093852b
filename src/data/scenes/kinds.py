"""What may appear in a scene: its words, its colours, what it does, where it belongs and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from src.data.scenes import animals, things, vehicles
from src.data.scenes.colours import BRIGHT, Rgb
from src.data.scenes.drawing import Drawing

Realm = Literal["ground", "water", "sky"]
Draw = Callable[[Drawing, str, Rgb, np.random.Generator], None]

_DRY = ("park", "beach", "lake", "snow", "street", "field", "night", "mountains")
_GREEN = ("park", "field", "night", "mountains")
_PAINT = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")


@dataclass(frozen=True)
class Kind:
    """
    Attributes:
        nouns: what captions call one of it, the usual word first.
        plurals: the same for several.
        draw: None for people, whom `people.person` draws.
        prop: it may stand beside the main thing as part of the surroundings.
    """

    name: str
    family: Literal["person", "animal", "vehicle", "thing"]
    nouns: tuple[str, ...]
    plurals: tuple[str, ...]
    colours: tuple[str, ...]
    actions: tuple[str, ...]
    places: tuple[str, ...]
    draw: Draw | None = None
    realm: Realm = "ground"
    prop: bool = False
    leads: bool = True


def _person(name: str, nouns: tuple[str, ...], plurals: tuple[str, ...]) -> Kind:
    actions = ("stand", "walk", "run", "jump", "sit", "wave", "lie")
    return Kind(name, "person", nouns, plurals, BRIGHT, actions, _DRY)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _person("man", ("man", "person"), ("men", "people")),
        _person("woman", ("woman", "lady", "person"), ("women", "people")),
        _person("boy", ("boy", "child", "kid"), ("boys", "children", "kids")),
        _person("girl", ("girl", "child", "kid"), ("girls", "children", "kids")),
        Kind(
            "dog",
            "animal",
            ("dog",),
            ("dogs",),
            ("brown", "black", "white", "grey"),
            ("stand", "walk", "run", "jump", "sit", "lie"),
            _DRY,
            animals.dog,
        ),
        Kind(
            "cat",
            "animal",
            ("cat",),
            ("cats",),
            ("orange", "black", "white", "grey", "brown"),
            ("stand", "walk", "sit", "lie", "run"),
            _DRY,
            animals.cat,
        ),
        Kind(
            "horse",
            "animal",
            ("horse",),
            ("horses",),
            ("brown", "black", "white", "grey"),
            ("stand", "walk", "run", "graze", "jump"),
            (*_GREEN, "beach", "snow"),
            animals.horse,
        ),
        Kind(
            "cow",
            "animal",
            ("cow",),
            ("cows",),
            ("brown", "black", "white"),
            ("stand", "walk", "graze"),
            _GREEN,
            animals.cow,
        ),
        Kind(
            "sheep",
            "animal",
            ("sheep",),
            ("sheep",),
            ("white", "black", "grey"),
            ("stand", "walk", "graze"),
            _GREEN,
            animals.sheep,
        ),
        Kind(
            "rabbit",
            "animal",
            ("rabbit", "bunny"),
            ("rabbits", "bunnies"),
            ("white", "brown", "grey", "black"),
            ("sit", "jump"),
            ("park", "snow", "field", "mountains", "night"),
            animals.rabbit,
        ),
        Kind(
            "duck",
            "animal",
            ("duck",),
            ("ducks",),
            ("yellow", "white", "brown"),
            ("swim",),
            ("lake",),
            animals.duck,
            "water",
        ),
        Kind(
            "bird",
            "animal",
            ("bird",),
            ("birds",),
            ("red", "blue", "yellow", "black", "white"),
            ("fly",),
            _DRY,
            animals.bird,
            "sky",
        ),
        Kind(
            "car",
            "vehicle",
            ("car",),
            ("cars",),
            _PAINT,
            ("",),
            ("street", "field", "night", "snow", "mountains"),
            vehicles.car,
        ),
        Kind("bus", "vehicle", ("bus",), ("buses",), _PAINT, ("",), ("street", "mountains", "night"), vehicles.bus),
        Kind(
            "truck",
            "vehicle",
            ("truck",),
            ("trucks",),
            _PAINT,
            ("",),
            ("street", "field", "mountains", "night"),
            vehicles.truck,
        ),
        Kind("bicycle", "vehicle", ("bicycle", "bike"), ("bicycles", "bikes"), _PAINT, ("",), _DRY, vehicles.bicycle),
        Kind(
            "boat",
            "vehicle",
            ("boat", "sailboat"),
            ("boats", "sailboats"),
            _PAINT,
            ("float",),
            ("beach", "lake"),
            vehicles.boat,
            "water",
        ),
        Kind(
            "plane",
            "vehicle",
            ("plane", "airplane"),
            ("planes", "airplanes"),
            ("red", "blue", "white", "yellow", "orange"),
            ("fly",),
            ("park", "beach", "street", "field", "mountains", "lake"),
            vehicles.plane,
            "sky",
        ),
        Kind(
            "balloon",
            "vehicle",
            ("balloon", "hot air balloon"),
            ("balloons", "hot air balloons"),
            ("red", "blue", "yellow", "green", "purple", "orange", "pink"),
            ("fly",),
            ("park", "beach", "field", "mountains", "lake", "snow"),
            vehicles.balloon,
            "sky",
        ),
        Kind(
            "tree",
            "thing",
            ("tree",),
            ("trees",),
            ("green", "orange"),
            ("",),
            ("park", "street", "field", "mountains"),
            things.tree,
            prop=True,
        ),
        Kind(
            "pine",
            "thing",
            ("pine tree", "tree"),
            ("pine trees", "trees"),
            ("green",),
            ("",),
            ("snow", "mountains", "night"),
            things.pine,
            prop=True,
        ),
        Kind(
            "palm",
            "thing",
            ("palm tree", "tree"),
            ("palm trees", "trees"),
            ("green",),
            ("",),
            ("beach",),
            things.palm,
            prop=True,
        ),
        Kind(
            "house",
            "thing",
            ("house",),
            ("houses",),
            ("red", "yellow", "white", "blue", "pink", "orange"),
            ("",),
            ("park", "snow", "field", "night", "mountains"),
            things.house,
            prop=True,
        ),
        Kind(
            "tent",
            "thing",
            ("tent",),
            ("tents",),
            ("red", "orange", "yellow", "green", "blue", "purple"),
            ("",),
            ("park", "beach", "field", "night", "mountains", "snow"),
            things.tent,
            prop=True,
        ),
        Kind(
            "bench",
            "thing",
            ("bench",),
            ("benches",),
            ("brown", "green", "red", "blue"),
            ("",),
            ("park", "street", "beach"),
            things.bench,
            prop=True,
        ),
        Kind(
            "snowman",
            "thing",
            ("snowman",),
            ("snowmen",),
            ("red", "blue", "green", "yellow"),
            ("",),
            ("snow",),
            things.snowman,
            prop=True,
        ),
        Kind(
            "ball",
            "thing",
            ("ball",),
            ("balls",),
            ("red", "blue", "yellow", "green", "orange", "purple", "pink"),
            ("",),
            ("park", "beach", "snow", "street", "field"),
            things.ball,
        ),
        Kind("umbrella", "thing", ("umbrella",), ("umbrellas",), BRIGHT[:-1], ("",), (), things.umbrella, leads=False),
        Kind(
            "kite",
            "thing",
            ("kite",),
            ("kites",),
            ("red", "blue", "yellow", "green", "orange", "purple", "pink"),
            ("fly",),
            ("park", "beach", "field", "mountains", "snow"),
            things.kite,
            "sky",
        ),
    )
}
