"""What a scene holds: drawn from independent choices, so that no word can be guessed from another one.

A story (one actor, one with an item, several alike, two that stand in a relation), a place, and for each actor kind,
colour, action, size, side and direction. Arrangements that leave the picture or hide one another are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from src.data.scenes.actor import ITEM_OF, Actor, Frame, Size, extent_of, frames
from src.data.scenes.dice import Dice
from src.data.scenes.kinds import KINDS, Kind, Realm
from src.data.scenes.places import PLACES, WEATHERS, Place

Story = Literal["alone", "item", "group", "beside", "front", "above"]

_STORIES: dict[Story, float] = {"alone": 0.3, "item": 0.18, "group": 0.24, "beside": 0.13, "front": 0.12, "above": 0.06}
_REALMS: dict[Story, tuple[Realm, ...]] = {"front": ("ground",), "beside": ("ground",), "above": ("sky",)}
"""Where the main actor is, when the story says so."""
_FAMILIES = {"person": 0.26, "animal": 0.34, "vehicle": 0.26, "thing": 0.14}
_SIZES: tuple[Size, ...] = ("small", "medium", "big")
_SPANS: dict[str, dict[Size, tuple[float, float]]] = {
    "person": {"small": (0.32, 0.36), "medium": (0.46, 0.54), "big": (0.66, 0.74)},
    "swimmer": {"small": (0.26, 0.30), "medium": (0.34, 0.40), "big": (0.46, 0.52)},
    "ground": {"small": (0.24, 0.28), "medium": (0.36, 0.44), "big": (0.54, 0.62)},
    "water": {"small": (0.22, 0.26), "medium": (0.32, 0.38), "big": (0.46, 0.54)},
    "sky": {"small": (0.22, 0.26), "medium": (0.32, 0.38), "big": (0.46, 0.52)},
}
_STATURES = {
    "ball": 0.75,
    "rabbit": 0.88,
    "cat": 0.92,
    "house": 1.15,
    "tree": 1.2,
    "pine": 1.2,
    "palm": 1.2,
    "bus": 1.1,
}
_ITEM_SPANS = {"kite": 0.92, "ride": 0.92, "cycle": 1.0}
_SIDES = {"left": (0.15, 0.37), "middle": (0.45, 0.55), "right": (0.63, 0.85)}
_PEOPLE = tuple(kind for kind in KINDS.values() if kind.family == "person")
_BACKS = ("tree", "pine", "palm", "house", "tent", "bus", "truck", "car")
_ONLY = {
    "lie": ("park", "beach", "field"),
    "graze": ("park", "field", "mountains", "night"),
    "sit": tuple(name for name in PLACES if name != "street"),
}
"""Where alone people and animals do this."""
_PAVEMENT = (0.645, 0.67)
_SMALLEST = 0.2
_OVERLAP = {"front": 0.36}
_ARRANGEMENTS, _CHOICES = 60, 200


@dataclass(frozen=True)
class Scene:
    """
    Attributes:
        actors: from back to front.
        main: positions in `actors` of what the scene is about.
        other: position of the second actor of 'beside', 'front' and 'above', or of a prop; -1 for none.
    """

    place: str
    weather: str
    story: Story
    actors: tuple[Actor, ...]
    main: tuple[int, ...]
    other: int
    seed: int


class CrowdedError(RuntimeError):
    """No arrangement was found: the choices contradict one another."""


def compose(rng: np.random.Generator) -> Scene:
    """Draw a scene.

    Raises:
        CrowdedError: nothing fitted in thousands of attempts, which is a fault of the tables above.
    """
    for _ in range(_CHOICES):
        choice = int(rng.integers(2**31))
        for _ in range(_ARRANGEMENTS):
            scene = _arrange(Dice(np.random.default_rng(choice), rng))
            if scene is not None:
                return scene
    raise CrowdedError(f"nothing fits in {_CHOICES} choices of {_ARRANGEMENTS} arrangements each")


def _arrange(dice: Dice) -> Scene | None:
    story = dice.pick(list(_STORIES), list(_STORIES.values()))
    realms = _REALMS.get(story, ("ground", "water", "sky"))
    kind = dice.pick(_PEOPLE) if story == "item" else _lead(dice, realms)
    place = PLACES[dice.pick(kind.places)]
    weather = "clear" if place.name == "night" else dice.pick(WEATHERS)
    with_prop = dice.chance(0.4)
    actors = _cast(story, kind, place, dice)
    if not actors or not _fits(actors, _OVERLAP.get(story, 0.06)):
        return None
    other = 0 if story in ("beside", "front", "above") else -1
    if other < 0 and with_prop:
        actors, other = _with_prop(actors, place, dice)
    main = tuple(range(other + 1, len(actors)))
    return Scene(place.name, weather, story, tuple(actors), main, other, dice.seed())


def _cast(story: Story, kind: Kind, place: Place, dice: Dice) -> list[Actor]:
    """The actors from back to front, the second one first; nobody when these choices go ill together."""
    if story == "alone":
        return [_actor(kind, place, dice.pick(_SIZES), dice.pick(list(_SIDES)), dice)]
    if story == "item":
        return [_with_item(kind, place, dice)]
    if story == "group":
        return _group(kind, place, dice)
    if story == "beside":
        return _beside(kind, place, dice)
    return _before(kind, place, dice) if story == "front" else _above(kind, place, dice)


def _lead(dice: Dice, realms: Iterable[str], place: Place | None = None) -> Kind:
    """A kind for these realms (and this place), each family as often as _FAMILIES says."""
    fitting = [
        kind
        for kind in KINDS.values()
        if kind.leads and kind.realm in realms and (place is None or place.name in kind.places)
    ]
    families = [family for family in _FAMILIES if any(kind.family == family for kind in fitting)]
    family = dice.pick(families, [_FAMILIES[name] for name in families])
    return dice.pick([kind for kind in fitting if kind.family == family])


def _actor(kind: Kind, place: Place, size: Size, side: str, dice: Dice, swims: bool = True) -> Actor:
    colour = dice.pick(_visible(kind, place))
    action = dice.pick([action for action in kind.actions if place.name in _ONLY.get(action, (place.name,))])
    clothing, realm, spans = "", kind.realm, _SPANS[kind.realm]
    if kind.family == "person":
        clothing, spans = "shirt", _SPANS["person"]
        if kind.name in ("woman", "girl") and dice.chance(0.55) and action not in ("lie", "jump"):
            clothing = "dress"
        if place.name == "lake" and swims and dice.chance(0.5):
            action, realm, spans = "swim", "water", _SPANS["swimmer"]
    span = dice.between(*spans[size]) * _STATURES.get(kind.name, 1.0) * (0.78 if action == "sit" and clothing else 1.0)
    air = dice.between(0.05, 0.09) if action == "jump" else 0.0
    x = dice.between(*_SIDES[side])
    actor = Actor(kind.name, colour, action, size, x, 0.9, span, dice.chance(0.5), dice.seed(), clothing, air=air)
    if realm == "sky":
        own = extent_of(actor)
        return replace(actor, base=span * own.height / own.larger_side + dice.between(0.03, 0.14))
    low, high = place.water if realm == "water" and place.water else place.ground
    if kind.prop and place.name == "street":
        return replace(actor, base=dice.between(*_PAVEMENT))
    nearest = {"small": 0.0, "medium": 0.25, "big": 0.6}[size]
    return replace(actor, base=low + (high - low) * dice.between(nearest, 1.0) - air)


def _visible(kind: Kind, place: Place) -> tuple[str, ...]:
    """The colours in which the kind can be made out there: nobody sees a black cat at night."""
    return tuple(colour for colour in kind.colours if (place.name, colour) != ("night", "black"))


def _with_item(kind: Kind, place: Place, dice: Dice) -> Actor:
    rideable = place.name in KINDS["horse"].places
    action = dice.pick(["umbrella", "kick", "reach", "kite", "cycle", *(["ride"] if rideable else [])])
    trousers = action in ("cycle", "ride", "kick") or kind.name in ("man", "boy")
    clothing = "shirt" if trousers else dice.pick(("shirt", "dress"))
    side = dice.pick(list(_SIDES))
    actor = _actor(kind, place, "medium", side, dice, swims=False)
    # A kite needs room to fly: it goes up towards the middle.
    mirrored = side == "right" if action == "kite" and side != "middle" else actor.mirrored
    low, high = place.ground
    return replace(
        actor,
        action=action,
        clothing=clothing,
        item=ITEM_OF[action],
        item_colour=dice.pick(_visible(KINDS[ITEM_OF[action]], place)),
        span=dice.between(0.46, 0.54) * _ITEM_SPANS.get(action, 1.1),
        mirrored=mirrored,
        air=0.0,
        base=dice.between((low + high) / 2, high),
    )


def _group(kind: Kind, place: Place, dice: Dice) -> list[Actor]:
    """Two to five of a kind, those that are wide in two rows when they are many."""
    count = dice.pick((2, 3, 4, 5), (0.38, 0.32, 0.15, 0.15))
    first = _actor(kind, place, "small" if count > 2 else "medium", "middle", dice)
    alike = dice.chance(0.7)
    colours = [first.colour] * count if alike else [dice.pick(_visible(kind, place)) for _ in range(count)]
    own = extent_of(first)
    wide = own.width > 0.7 * own.height
    rows = 2 if count > 3 and wide and kind.realm != "water" else 1
    columns = -(-count // rows)
    width = dice.between(0.84, 0.97) if columns > 2 else dice.between(0.62, 0.94)
    left = 0.5 - width / 2 + dice.between(-1, 1) * (0.98 - width) / 2
    drawn = []
    for index in range(count):
        row, column = divmod(index, columns)
        slot = width / (columns if row == 0 else count - columns)
        span = first.span * dice.between(0.92, 1.08)
        base = first.base + dice.between(-0.02, 0.02) + ((row - 0.5) * dice.between(0.2, 0.28) if rows == 2 else 0.0)
        drawn.append(
            replace(
                first,
                x=left + slot * (column + 0.5) + dice.between(-0.1, 0.1) * slot,
                base=base,
                span=min(span, 0.96 * slot) if wide else span,
                colour=colours[index],
                mirrored=dice.chance(0.5),
                seed=dice.seed(),
            )
        )
    low, high = _band(first, place)
    if min(actor.span for actor in drawn) < _SMALLEST:
        return []
    if any(not low - 0.02 <= actor.base + actor.air <= high + 0.02 for actor in drawn):
        return []
    return sorted(drawn, key=lambda actor: actor.base)


def _band(actor: Actor, place: Place) -> tuple[float, float]:
    """Heights at which the actor may stand, float or fly."""
    if KINDS[actor.kind].realm == "sky":
        return 0.0, 1.0
    if KINDS[actor.kind].prop and place.name == "street":
        return _PAVEMENT
    floats = KINDS[actor.kind].realm == "water" or actor.action == "swim"
    return place.water if floats and place.water else place.ground


def _beside(kind: Kind, place: Place, dice: Dice) -> list[Actor]:
    other = _lead(dice, ("ground",), place)
    left, right = ("left", "right") if dice.chance(0.5) else ("right", "left")
    second = _actor(other, place, "medium", right, dice, swims=False)
    main = _actor(kind, place, "medium", left, dice, swims=False)
    level = abs(second.base + second.air - main.base - main.air) < 0.1
    return [second, main] if level and kind.name != other.name else []


def _above(kind: Kind, place: Place, dice: Dice) -> list[Actor]:
    second = _actor(_lead(dice, ("ground", "water"), place), place, "medium", dice.pick(list(_SIDES)), dice)
    main = _actor(kind, place, "small", "middle", dice)
    main = replace(main, x=second.x + dice.between(-0.08, 0.08))
    return [second, main] if frames(second)[second.kind][1] > main.base + 0.02 else []


def _before(kind: Kind, place: Place, dice: Dice) -> list[Actor]:
    backs = [KINDS[name] for name in _BACKS if place.name in KINDS[name].places]
    if not backs or kind.family not in ("person", "animal"):
        return []
    second = _actor(dice.pick(backs), place, "big", dice.pick(list(_SIDES)), dice)
    main = _actor(kind, place, "medium", "middle", dice, swims=False)
    low, high = place.ground
    second = replace(second, base=min(second.base, dice.between(low, low + 0.35 * (high - low))))
    x = second.x + dice.between(-0.15, 0.15)
    return [second, replace(main, base=dice.between(high - 0.04, high) - main.air, x=x)]


def _with_prop(actors: list[Actor], place: Place, dice: Dice) -> tuple[list[Actor], int]:
    """The actors with a tree, house, tent, bench or snowman further back (position 0), where it hides nothing.

    They stay alone (position -1) when there is no room.
    """
    props = [kind for kind in KINDS.values() if kind.prop and place.name in kind.places and kind.name != actors[0].kind]
    grounded = [actor.base + actor.air for actor in actors if KINDS[actor.kind].realm != "sky"]
    for _ in range(8 if props else 0):
        prop = _actor(dice.pick(props), place, "medium", dice.pick(list(_SIDES)), dice)
        prop = replace(prop, base=min(prop.base, place.ground[0] + dice.between(-0.03, 0.06)))
        if all(base > prop.base for base in grounded) and _fits([prop, *actors], 0.06):
            return [prop, *actors], 0
    return actors, -1


def _fits(actors: Sequence[Actor], overlap: float) -> bool:
    """Everything lies within the picture, and no actor shares more than `overlap` of its box with another one."""
    boxes = [list(frames(actor).values()) for actor in actors]
    if any(min(frame) < 0.01 or max(frame) > 0.99 for group in boxes for frame in group):
        return False
    return not any(
        _shared(one, two) > overlap
        for index, group in enumerate(boxes)
        for other in boxes[index + 1 :]
        for one in group
        for two in other
    )


def _shared(one: Frame, two: Frame) -> float:
    """Share of the smaller box that lies within the other one."""
    wide = min(one[2], two[2]) - max(one[0], two[0])
    high = min(one[3], two[3]) - max(one[1], two[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return max(0.0, wide) * max(0.0, high) / smaller
