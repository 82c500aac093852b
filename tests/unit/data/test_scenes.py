"""What captions say is what the picture shows, and the boxes are where the pixels are."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from src.data.scenes.actor import Actor, frames
from src.data.scenes.captions import LONGEST, SHORTEST, describe
from src.data.scenes.colours import BRIGHT, NAMED, name_of, shade_of
from src.data.scenes.composition import Scene, compose
from src.data.scenes.kinds import KINDS
from src.data.scenes.picture import SIDE, paint, silhouette

NUMBERS = {"two": (2,), "pair": (2,), "three": (3,), "four": (4,), "five": (5,), "several": (4, 5)}
COLOUR = "|".join(NAMED)


@pytest.fixture(scope="module")
def told() -> list[tuple[Scene, tuple[str, ...]]]:
    """Three hundred scenes with their captions, lower-case and without the full stop."""
    scenes = []
    for number in range(300):
        rng = np.random.default_rng([7, number])
        scene = compose(rng)
        scenes.append((scene, tuple(caption[:-1].lower() for caption in describe(scene, rng))))
    return scenes


def named_by(noun: str, scene: Scene) -> list[tuple[str, str]]:
    """(kind, colour) of everything in the scene that the noun may mean, items included."""
    found = []
    for actor in scene.actors:
        for kind, colour in ((actor.kind, actor.colour), (actor.item, actor.item_colour)):
            if kind and any(noun in (word, word.split()[-1]) for word in KINDS[kind].nouns + KINDS[kind].plurals):
                found.append((kind, colour))
    return found


def main_middles(scene: Scene) -> list[float]:
    boxes = [frames(scene.actors[index])[scene.actors[index].kind] for index in scene.main]
    return [(box[0] + box[2]) / 2 for box in boxes]


def test_a_side_of_the_picture_is_the_side_where_the_main_actor_is(told):
    claims = Counter()
    for scene, captions in told:
        for caption in captions:
            for side in re.findall(r"(?:on|at) the (left|right)\b", caption):
                claims[side] += 1
                assert all(x < 0.5 if side == "left" else x > 0.5 for x in main_middles(scene)), caption
            if "in the middle" in caption or "in the centre" in caption:
                claims["middle"] += 1
                assert all(0.4 < x < 0.6 for x in main_middles(scene)), caption
    assert min(claims[side] for side in ("left", "middle", "right")) > 20


def test_left_and_right_of_another_thing_are_as_the_boxes_lie(told):
    claims = 0
    for scene, captions in told:
        for caption in captions:
            for side in re.findall(r"to the (left|right) of an? ", caption):
                other = scene.actors[scene.other]
                box = frames(other)[other.kind]
                apart = [x - (box[0] + box[2]) / 2 for x in main_middles(scene)]
                assert all(gap < 0 if side == "left" else gap > 0 for gap in apart), caption
                claims += 1
    assert claims > 20


def test_a_number_is_the_number_of_such_things_in_the_picture(told):
    claims = Counter()
    for scene, captions in told:
        for caption in captions:
            for number in set(caption.split()) & set(NUMBERS):
                words = caption.split(number, 1)[1].split()
                noun = next(
                    word
                    for word in words
                    if any(word in kind.plurals for kind in KINDS.values()) or word in ("balloons", "trees")
                )
                assert len(named_by(noun, scene)) in NUMBERS[number], caption
                claims[number] += 1
    assert set(claims) == set(NUMBERS)


def test_everything_that_is_named_is_in_the_picture(told):
    nouns = {word.split()[-1] for kind in KINDS.values() for word in kind.nouns + kind.plurals}
    for scene, captions in told:
        for caption in captions:
            for word in set(caption.split()) & nouns:
                assert named_by(word, scene), f"no {word}: {caption}"


def test_a_colour_before_a_noun_is_the_colour_it_is_painted_in(told):
    claims = 0
    for scene, captions in told:
        for caption in captions:
            for colour, noun in re.findall(rf"\b({COLOUR}) (?:hot air |pine |palm )?(\w+)", caption):
                things = named_by(noun, scene)
                if things:
                    assert colour in [painted for _, painted in things], caption
                    claims += 1
    assert claims > 300


def test_the_colour_of_clothes_is_that_of_somebody_in_them(told):
    claims = 0
    for scene, captions in told:
        for caption in captions:
            for colour, clothing in re.findall(rf"\b({COLOUR}) (shirt|dress)", caption):
                assert any(actor.colour == colour and actor.clothing == clothing for actor in scene.actors), caption
                claims += 1
    assert claims > 100


def test_big_and_small_tell_of_sizes_that_differ(told):
    spans: dict[str, list[float]] = {"small": [], "little": [], "big": [], "large": []}
    for scene, captions in told:
        for caption in captions:
            for size, noun in re.findall(rf"\b(small|little|big|large) (?:(?:{COLOUR}) )?(\w+)", caption):
                spans[size] += [actor.span for actor in scene.actors if noun in KINDS[actor.kind].nouns]
    assert max(spans["small"] + spans["little"]) < min(spans["big"] + spans["large"])


def test_behind_and_in_front_overlap_with_the_nearer_thing_lower(told):
    stories = [scene for scene, captions in told if scene.story == "front"]
    assert stories
    for scene in stories:
        back, front = (frames(actor)[actor.kind] for actor in scene.actors)
        assert front[3] + scene.actors[1].air > back[3]
        assert back[0] < (front[0] + front[2]) / 2 < back[2]


def test_what_is_above_is_wholly_above(told):
    stories = [scene for scene, _ in told if scene.story == "above"]
    assert stories
    for scene in stories:
        below, above = (frames(actor)[actor.kind] for actor in scene.actors)
        assert above[3] < below[1]


def test_captions_read_as_sentences():
    for number in range(100):
        rng = np.random.default_rng([8, number])
        captions = describe(compose(rng), rng)
        assert len(set(captions)) == len(captions) == 5
        for caption in captions:
            assert SHORTEST <= len(caption.split()) <= LONGEST
            assert caption[0].isupper() and caption.endswith(".") and "  " not in caption
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption.lower()), caption
            assert not re.search(r"\b(\w+) \1\b|is with|are with|is are", caption.lower()), caption


def test_a_plural_has_a_plural_verb(told):
    for scene, captions in told:
        if len(scene.main) > 1:
            assert not any(re.search(r"\b(is|runs|stands|walks|sits|flies|swims)\b", caption) for caption in captions)


def test_nothing_is_told_by_the_side_it_stands_on(told):
    lefts: dict[str, list[bool]] = {"person": [], "animal": [], "vehicle": []}
    for scene, _ in told:
        for actor in scene.actors:
            lefts.setdefault(KINDS[actor.kind].family, []).append(actor.x < 0.5)
    for family, sides in lefts.items():
        assert 0.38 < sum(sides) / len(sides) < 0.62, family


def test_people_wear_every_colour_about_equally_often(told):
    worn = Counter(actor.colour for scene, _ in told for actor in scene.actors if actor.clothing)
    assert set(worn) == set(BRIGHT)
    assert max(worn.values()) < 3 * min(worn.values())


def test_a_box_is_tight_round_the_pixels_of_its_object(told):
    for scene, _ in told[:40]:
        for actor in scene.actors:
            for part, box in frames(actor).items():
                covered = np.asarray(silhouette(actor, part)) > 0
                across, down = np.flatnonzero(covered.any(axis=0)), np.flatnonzero(covered.any(axis=1))
                seen = (across[0], down[0], across[-1] + 1, down[-1] + 1)
                assert np.abs(np.array(seen) - SIDE * np.array(box)).max() <= 1.5, (part, seen, box)


def test_every_box_lies_in_the_picture_and_is_large_enough_to_recognise(told):
    for scene, _ in told:
        for actor in scene.actors:
            left, top, right, bottom = frames(actor)[actor.kind]
            assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
            assert SIDE * max(right - left, bottom - top) >= 40


def test_an_object_can_be_seen_in_its_box(told):
    scene = next(scene for scene, _ in told if scene.story == "alone" and scene.other < 0 and scene.place != "night")
    actor = scene.actors[0]
    empty = Scene(scene.place, scene.weather, "alone", (), (), -1, scene.seed)
    changed = np.abs(np.asarray(paint(scene), int) - np.asarray(paint(empty), int)).sum(axis=2) > 30
    left, top, right, bottom = (round(SIDE * edge) for edge in frames(actor)[actor.kind])
    assert changed[top:bottom, left:right].mean() > 0.25
    changed[top:bottom, left:right] = False
    assert changed.mean() < 0.05


def test_the_same_scene_gives_the_same_pixels():
    scene = compose(np.random.default_rng([9, 1]))
    assert paint(scene).tobytes() == paint(scene).tobytes()
    assert scene == compose(np.random.default_rng([9, 1]))


@pytest.mark.parametrize("name", NAMED)
def test_a_paint_is_closest_to_the_colour_it_is_named_after(name):
    rng = np.random.default_rng(0)
    assert {name_of(shade_of(name, rng)) for _ in range(200)} == {name}


def test_a_red_car_has_more_red_than_any_other_bright_colour():
    for colour in ("red", "yellow", "green", "blue", "purple"):
        car = Actor("car", colour, "", "big", 0.5, 0.9, 0.6, mirrored=False, seed=3)
        pixels = np.asarray(paint(Scene("street", "clear", "alone", (car,), (0,), -1, 5)))
        left, top, right, bottom = (round(SIDE * edge) for edge in frames(car)["car"])
        inside = pixels[top:bottom, left:right].reshape(-1, 3)
        seen = Counter(name_of(tuple(map(int, rgb))) for rgb in inside)
        bright = {name: seen[name] for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink")}
        assert max(bright, key=bright.__getitem__) == colour


def test_no_two_actors_of_a_group_hide_one_another(told):
    for scene, _ in told:
        if scene.story == "group":
            boxes = [frames(scene.actors[index])[scene.actors[index].kind] for index in scene.main]
            for one, two in combinations(boxes, 2):
                wide = max(0.0, min(one[2], two[2]) - max(one[0], two[0]))
                high = max(0.0, min(one[3], two[3]) - max(one[1], two[1]))
                assert wide * high < 0.1 * (one[2] - one[0]) * (one[3] - one[1])
