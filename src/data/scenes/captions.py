"""What people would say of a scene: true sentences that choose other details and other words each time.

Sides are read off the boxes as they came to lie, counts off the actors, colours off the paint: a sentence never says
more than the picture shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from src.data.scenes.actor import Actor, Frame, frames
from src.data.scenes.composition import Scene
from src.data.scenes.kinds import KINDS

T = TypeVar("T")

CAPTIONS_PER_IMAGE = 5
SHORTEST, LONGEST = 5, 16
_PATIENCE = 40
COUNTS = {2: ("two", "a pair of"), 3: ("three",), 4: ("four", "several"), 5: ("five", "several")}

_VERBS: dict[str, tuple[tuple[str, str, str], ...]] = {
    # -ing, he does, they do
    "stand": (("standing", "stands", "stand"),),
    "walk": (("walking", "walks", "walk"),),
    "run": (("running", "runs", "run"),),
    "jump": (("jumping", "jumps", "jump"), ("leaping", "leaps", "leap")),
    "sit": (("sitting", "sits", "sit"),),
    "wave": (("waving", "waves", "wave"), ("waving a hand", "waves a hand", "wave their hands")),
    "lie": (("lying", "lies", "lie"), ("lying down", "lies down", "lie down")),
    "graze": (("grazing", "grazes", "graze"), ("eating", "eats", "eat")),
    "fly": (("flying", "flies", "fly"),),
    "float": (("sailing", "sails", "sail"), ("floating", "floats", "float")),
    "swim": (("swimming", "swims", "swim"),),
}
_ITEM_VERBS: dict[str, tuple[tuple[str, str, str], ...]] = {
    # after the noun, after "is", alone
    "umbrella": (
        ("holding", "holding", "holds"),
        ("carrying", "carrying", "carries"),
        ("under", "standing under", "stands under"),
        ("with", "holding", "has"),
    ),
    "kite": (("flying", "flying", "flies"), ("with", "playing with", "plays with"), ("with", "flying", "has")),
    "kick": (("kicking", "kicking", "kicks"), ("playing with", "playing with", "plays with")),
    "reach": (("holding", "holding", "holds"), ("carrying", "carrying", "carries"), ("with", "holding", "has")),
    "cycle": (("riding", "riding", "rides"), ("on", "riding", "rides on")),
    "ride": (("riding", "riding", "rides"), ("on", "riding", "rides on"), ("sitting on", "sitting on", "sits on")),
}
_GROUNDS: dict[str, tuple[str, ...]] = {
    "park": ("in the park", "in a green park", "on the grass", "on the green grass"),
    "beach": ("on the beach", "at the beach", "on the sand", "by the sea"),
    "lake": ("by the lake", "next to the lake", "near the water", "at the lake"),
    "snow": ("in the snow", "on the snow", "in the white snow", "on a snowy hill"),
    "street": ("on the street", "in the city", "on the road", "in front of tall buildings"),
    "field": ("in a field", "in a yellow field", "on a farm", "in front of a fence"),
    "night": ("at night", "in the dark", "under the moon", "under the stars"),
    "mountains": ("near the mountains", "in the mountains", "in front of the mountains"),
}
_WATERS = {
    "lake": ("on the lake", "in the water", "on the blue water"),
    "beach": ("on the sea", "near the beach", "on the ocean"),
}
_SWIMS = ("in the lake", "in the water")
_SKIES: dict[str, tuple[str, ...]] = {
    "park": ("over the park", "above the grass"),
    "beach": ("over the beach", "above the sea"),
    "lake": ("over the lake", "above the water"),
    "snow": ("over the snow", "above a snowy hill"),
    "street": ("over the city", "above the buildings"),
    "field": ("over a field", "above a yellow field"),
    "night": ("at night", "in the night sky"),
    "mountains": ("near the mountains", "in the mountains"),
}
_WEATHERS = {
    "sunny": ("on a sunny day", "under the sun", "in the sunshine"),
    "cloudy": ("on a cloudy day", "under a cloudy sky"),
    "clear": ("under a blue sky",),
}
_SIDES = {
    "left": ("on the left", "on the left side", "at the left of the picture"),
    "right": ("on the right", "on the right side", "at the right of the picture"),
    "middle": ("in the middle", "in the middle of the picture", "in the centre"),
}


@dataclass(frozen=True)
class Wording:
    """One way to speak of the main actors."""

    subject: str
    be: str
    """'is' or 'are'."""
    doing: str
    """After the noun: 'running', 'with a red umbrella', or nothing."""
    is_doing: str
    """The same after 'is' or 'are': 'is running', 'is holding a red umbrella', 'is'."""
    does: str
    """'runs', 'holds a red umbrella', or nothing."""


def describe(scene: Scene, rng: np.random.Generator) -> tuple[str, ...]:
    """Five different captions of SHORTEST to LONGEST words, each a sentence with a capital and a full stop."""
    teller = _Teller(scene, rng)
    said: list[str] = []
    attempts = 0
    while len(said) < CAPTIONS_PER_IMAGE:
        attempts += 1
        sentence = " ".join(teller.sentence().split())
        fits = SHORTEST <= len(sentence.split()) <= LONGEST and not _repeats(sentence) and sentence not in said
        # Five people seldom end alike; about a bench in the street there is little else to say.
        if fits and (attempts > _PATIENCE or not any(_ending(sentence) == _ending(other) for other in said)):
            said.append(sentence)
    return tuple(sentence[0].upper() + sentence[1:] + "." for sentence in said)


def side_of(frame: Frame) -> str:
    """'left', 'middle' or 'right', or nothing where people would not agree."""
    middle = (frame[0] + frame[2]) / 2
    if middle < 0.39:
        return "left"
    if middle > 0.61:
        return "right"
    return "middle" if 0.43 < middle < 0.57 else ""


def with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


class _Teller:
    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene, self.rng = scene, rng
        self.main = [scene.actors[index] for index in scene.main]
        self.other = scene.actors[scene.other] if scene.other >= 0 else None
        self.frames = [frames(actor)[actor.kind] for actor in scene.actors]

    def sentence(self) -> str:
        """One sentence of a form chosen by chance; the caller drops what is too long or too short."""
        forms: list[tuple[float, Callable[[], str]]] = [
            (3.0, self._plain),
            (1.2, self._place_first),
            (0.8, self._there_is),
            (0.5, self._weather),
        ]
        if len(self.main) == 1 and side_of(self._frame()):
            forms += [(1.6, self._side), (0.6, self._side_first)]
        if len(self.main) > 2 and max(f[3] for f in self._mains()) - min(f[3] for f in self._mains()) < 0.12:
            forms.append((0.9, self._in_a_row))
        if self.other is not None:
            related = self.scene.story in ("beside", "front", "above")
            forms += [(4.0 if related else 2.0, self._related), (0.8 if related else 0.4, self._other_first)]
        shares = np.array([weight for weight, _ in forms])
        return forms[int(self.rng.choice(len(forms), p=shares / shares.sum()))][1]()

    def _plain(self) -> str:
        w = self._wording()
        place = self._place() if self._chance(0.75) or not w.doing else ""
        if w.doing and self._chance(0.5):
            return f"{w.subject} {w.is_doing if self._chance(0.6) else w.does} {place}"
        return f"{w.subject} {w.doing} {place}"

    def _place_first(self) -> str:
        w = self._wording()
        if not w.doing:
            return f"{self._place()} there {w.be} {w.subject}"
        return f"{self._place()}, {w.subject} {w.is_doing if self._chance(0.5) else w.does}"

    def _there_is(self) -> str:
        w = self._wording()
        return f"there {w.be} {w.subject} {w.doing} {self._place()}"

    def _weather(self) -> str:
        w = self._wording()
        day = self._one(_WEATHERS[self.scene.weather]) if self.scene.place != "night" else "under the night sky"
        return f"{w.subject} {w.doing} {day}"

    def _side(self) -> str:
        w = self._wording()
        place = self._place() if self._chance(0.3) else ""
        verb = w.is_doing if self._chance(0.5) else w.doing
        return f"{w.subject} {verb} {place} {self._one(_SIDES[side_of(self._frame())])}"

    def _side_first(self) -> str:
        w = self._wording()
        side = self._one(_SIDES[side_of(self._frame())])
        if w.doing and self._chance(0.5):
            return f"{side}, {w.subject} {w.is_doing}"
        return f"{side} {w.be} {w.subject} {self._place() if self._chance(0.6) else ''}"

    def _in_a_row(self) -> str:
        w = self._wording()
        return f"{w.subject} {w.is_doing if self._chance(0.3) else w.doing} in a row"

    def _related(self) -> str:
        w = self._wording()
        airborne = self.scene.story == "above"
        place = self._place() if self._chance(0.3) and not airborne else ""
        relation = self._relation()
        verb = self._one((w.is_doing if w.doing or not relation.startswith("with") else "", w.doing, w.doing))
        return f"{w.subject} {verb} {relation} {place}"

    def _other_first(self) -> str:
        assert self.other is not None
        w, second = self._wording(), self._noun_phrase(self.other)
        there = "there is " if self._chance(0.3) else ""
        if self.scene.story == "above":
            return f"{there}{second} below {w.subject}"
        if self.scene.story == "front":
            return f"{there}{second} behind {w.subject}"
        return f"{w.subject} and {second} {self._place() if self.scene.story == 'beside' else self._outside()}"

    def _relation(self) -> str:
        assert self.other is not None
        second, main, frame = self._noun_phrase(self.other), self._mains(), self.frames[self.scene.other]
        if self.scene.story == "above":
            return f"{self._one(('above', 'over'))} {second}"
        if self.scene.story == "front":
            return f"in front of {second}"
        middle, mine = (frame[0] + frame[2]) / 2, [(f[0] + f[2]) / 2 for f in main]
        gap = min(max(f[0] - frame[2], frame[0] - f[2]) for f in main)
        ways = []
        if max(mine) < middle - 0.12:
            ways.append(f"to the left of {second}")
        if min(mine) > middle + 0.12:
            ways.append(f"to the right of {second}")
        level = max(abs(f[3] - frame[3]) for f in main) < 0.16
        if gap < 0.16 and level and self._on_ground():
            ways += [f"next to {second}", f"beside {second}", f"near {second}"]
        if self.scene.story != "beside":
            ways.append(f"with {second} in the background")
        return self._one(ways) if ways else f"and {second}"

    def _wording(self) -> Wording:
        first = self.main[0]
        subject = self._noun_phrase(first) if len(self.main) == 1 else self._group_phrase()
        be = "are" if len(self.main) > 1 else "is"
        if first.item:
            doing, being, does = self._one(_ITEM_VERBS[first.action])
            item = self._item_phrase(first)
            return Wording(subject, be, f"{doing} {item}", f"is {being} {item}", f"{does} {item}")
        if not first.action:
            return Wording(subject, be, "", be, "")
        doing, he_does, they_do = self._one(_VERBS[first.action])
        if len(self.main) > 1:
            doing = doing.replace("waving a hand", "waving their hands")
        return Wording(subject, be, doing, f"{be} {doing}", they_do if len(self.main) > 1 else he_does)

    def _noun_phrase(self, actor: Actor) -> str:
        """'a small brown dog', 'a young girl in a red dress'."""
        kind = KINDS[actor.kind]
        noun = self._noun(kind.nouns)
        if kind.family == "person":
            young = "young " if actor.kind in ("boy", "girl") and noun == actor.kind and self._chance(0.15) else ""
            return with_article(f"{young}{noun}") + (self._clothing(actor) if self._chance(0.5) else "")
        words = []
        if actor.size != "medium" and self._chance(0.5):
            words.append(self._one(("small", "little") if actor.size == "small" else ("big", "large")))
        if self._chance(0.72) and actor.kind != "snowman":
            words.append(actor.colour)
        return with_article(" ".join([*words, noun]))

    def _clothing(self, actor: Actor) -> str:
        if actor.action == "swim":
            return ""
        wears = self._one(("in", "wearing"))
        return f" {wears} {with_article(f'{actor.colour} {actor.clothing}')}"

    def _group_phrase(self) -> str:
        first, count = self.main[0], len(self.main)
        kind = KINDS[first.kind]
        number, nouns = self._one(COUNTS[count]), self._noun(kind.plurals)
        colours = [actor.colour for actor in self.main]
        alike = len(set(colours)) == 1
        if kind.family == "person":
            dressed = alike and first.action != "swim" and self._chance(0.5)
            return f"{number} {nouns}" + (
                f" in {first.colour} {first.clothing}{'es' if first.clothing == 'dress' else 's'}" if dressed else ""
            )
        if alike and self._chance(0.7) and first.kind != "snowman":
            return f"{number} {first.colour} {nouns}"
        if count == 2 and not alike and self._chance(0.5) and first.kind != "snowman":
            noun = kind.nouns[0]
            return f"{with_article(f'{colours[0]} {noun}')} and {with_article(f'{colours[1]} {noun}')}"
        small = self._one(("small ", "little ")) if first.size == "small" and self._chance(0.3) else ""
        return f"{number} {small}{nouns}"

    def _item_phrase(self, actor: Actor) -> str:
        noun = self._noun(KINDS[actor.item].nouns)
        return with_article(f"{actor.item_colour} {noun}" if self._chance(0.7) else noun)

    def _place(self) -> str:
        first = self.main[0]
        if first.action == "swim" and KINDS[first.kind].family == "person":
            return self._one(_SWIMS)
        realm = KINDS[first.kind].realm
        if realm == "water":
            return self._one(_WATERS[self.scene.place])
        if realm == "sky":
            return "in the sky" if self._chance(0.4) else self._one(_SKIES[self.scene.place])
        return self._ground()

    def _ground(self) -> str:
        # Trees and benches stand on the pavement.
        ways = _GROUNDS[self.scene.place]
        return self._one([way for way in ways if way != "on the road" or not KINDS[self.main[0].kind].prop])

    def _outside(self) -> str:
        """Where a prop and the main actors both are."""
        ways = [way for way in _GROUNDS[self.scene.place] if way != "on the road"]
        return self._one(ways) if self._on_ground() else "in the picture"

    def _on_ground(self) -> bool:
        return KINDS[self.main[0].kind].realm == "ground" and self.main[0].action != "swim"

    def _noun(self, nouns: Sequence[str]) -> str:
        """Mostly the usual word, now and then another one."""
        return nouns[0] if len(nouns) == 1 or self._chance(0.75) else self._one(nouns[1:])

    def _frame(self) -> Frame:
        return self.frames[self.scene.main[0]]

    def _mains(self) -> list[Frame]:
        return [self.frames[index] for index in self.scene.main]

    def _chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def _one(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]


def _ending(sentence: str) -> list[str]:
    return sentence.split()[-3:]


def _repeats(sentence: str) -> bool:
    """Two words said twice in the same order ('near the water near the water')."""
    words = sentence.replace(",", "").split()
    pairs = list(itertools.pairwise(words))
    return any(pairs.count(pair) > 1 and pair not in (("in", "a"),) for pair in pairs)
