"""What is wrong with a dataset, counted, with examples, and what becomes of each fault."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from tqdm import tqdm

from src.data.images import ImageError, Probe, probe
from src.data.manifest import Location, Split
from src.data.reading import Candidate, Reading
from src.data.tokens import words

EXAMPLES = 5
Fate = Literal["skipped", "kept"]

KINDS: dict[str, tuple[Fate, str]] = {
    "captions_without_image": ("skipped", "captions of images that the distribution lacks"),
    "splits_without_image": ("skipped", "split entries with neither image nor caption"),
    "images_without_caption": ("skipped", "images that nobody described"),
    "images_in_no_split": ("skipped", "images with captions that no split lists"),
    "images_in_two_splits": ("skipped", "images that would leak from one split into another"),
    "missing": ("skipped", "image files that cannot be opened"),
    "zero-sized": ("skipped", "images without bytes or without pixels"),
    "truncated": ("skipped", "images that were cut off"),
    "altered": ("skipped", "images whose bytes do not have the checksum that their archive states"),
    "undecodable": ("skipped", "files that are no image, whatever they are called"),
    "too large": ("skipped", "images of more pixels than are decoded here"),
    "not_rgb": ("kept", "images in another mode, converted to RGB when they are read"),
    "duplicate_names": ("kept", "names that several files bear; the first is used"),
    "names_differing_in_case": ("kept", "names that some file systems cannot tell apart"),
    "names_differing_in_extension": ("kept", "names that may stand for the same photograph"),
    "names_with_copy_suffix": ("kept", "names such as 'a.jpg.1', as a second download of 'a.jpg' is called"),
    "empty_captions": ("skipped", "captions without a word"),
    "unreadable_lines": ("skipped", "lines of caption files that do not say which image they describe"),
}
"""Every kind of fault that is looked for, its fate, and what it means."""

_COPY = re.compile(r"\.\d+$")


@dataclass(frozen=True, slots=True)
class Described:
    """A caption as written (white space folded), and its words."""

    caption: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SoundImage:
    """An image that can be used: it decodes, lies in one split, and has at least one caption with a word."""

    candidate: Candidate
    split: Split
    probe: Probe
    captions: tuple[Described, ...]


@dataclass(frozen=True)
class Inspection:
    """A reading divided into what can be used and what is wrong.

    Attributes:
        sound: the images that can be used, in the reading's order.
        damaged: a message for each image that cannot be decoded.
        found: for each of KINDS the names concerned (captions: the names of their images).
    """

    sound: tuple[SoundImage, ...]
    damaged: tuple[str, ...]
    found: dict[str, tuple[str, ...]]

    def report(self) -> dict[str, dict[str, Any]]:
        """Every kind's count, fate, meaning and first examples, as JSON holds them."""
        return {
            kind: {
                "count": len(self.found[kind]),
                "fate": fate,
                "meaning": meaning,
                "examples": list(dict.fromkeys(self.found[kind]))[:EXAMPLES],
            }
            for kind, (fate, meaning) in KINDS.items()
        }


def inspect(reading: Reading, read: Callable[[Location], bytes], workers: int | None = None) -> Inspection:
    """Decode every image, on `workers` threads (one per core by default), and check every name, caption and split."""
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name, lost in reading.captions_without_image.items():
        found["captions_without_image"] += [name] * len(lost)
    found["splits_without_image"] += reading.splits_without_image
    found["duplicate_names"] += reading.duplicate_names
    found["unreadable_lines"] += reading.unreadable_lines
    for kind, groups in _similar_names(reading).items():
        found[kind] += groups

    sound, damaged = [], []
    for candidate, outcome in zip(reading.candidates, _probe_all(reading, read, workers), strict=True):
        name = candidate.filename
        captions = described(candidate.captions)
        found["empty_captions"] += [name] * (len(candidate.captions) - len(captions))
        if not captions:
            found["images_without_caption"].append(name)
        elif not candidate.splits:
            found["images_in_no_split"].append(name)
        if len(candidate.splits) > 1:
            found["images_in_two_splits"].append(f"{name} ({', '.join(candidate.splits)})")
        if isinstance(outcome, ImageError):
            found[outcome.fault].append(name)
            damaged.append(f"{name}: {outcome.detail}")
            continue
        if outcome.mode != "RGB":
            found["not_rgb"].append(f"{name} ({outcome.mode})")
        if captions and len(candidate.splits) == 1:
            sound.append(SoundImage(candidate, candidate.splits[0], outcome, captions))
    return Inspection(tuple(sound), tuple(damaged), {kind: tuple(names) for kind, names in found.items()})


def described(captions: Iterable[str]) -> tuple[Described, ...]:
    """The captions that have a word. White space is folded: some of COCO's captions hold line breaks."""
    pairs = (Described(" ".join(caption.split()), words(caption)) for caption in captions)
    return tuple(pair for pair in pairs if pair.words)


def _probe_all(
    reading: Reading, read: Callable[[Location], bytes], workers: int | None
) -> Iterable[Probe | ImageError]:
    def outcome(candidate: Candidate) -> Probe | ImageError:
        try:
            return probe(read(candidate.location), candidate.filename)
        except ImageError as error:
            return error

    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        outcomes = pool.map(outcome, reading.candidates)
        # Without a terminal a bar would fill a log with lines.
        yield from tqdm(outcomes, f"checking {reading.dataset}", len(reading.candidates), unit="image", disable=None)
    finally:
        pool.shutdown(cancel_futures=True)


def _similar_names(reading: Reading) -> dict[str, list[str]]:
    names = [candidate.filename for candidate in reading.candidates]
    names += [*reading.captions_without_image, *reading.splits_without_image]
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_stem(_COPY.sub("", name)).lower()].append(name)
    kinds: dict[str, list[str]] = defaultdict(list)
    kinds["names_with_copy_suffix"] = [name for name in names if _COPY.search(name)]
    for group in alike.values():
        if len(group) == 1:
            continue
        plain = {_COPY.sub("", name) for name in group}
        lower = {name.lower() for name in plain}
        if len(lower) < len(plain):
            kinds["names_differing_in_case"].append(" / ".join(group))
        if len(lower) > 1:
            kinds["names_differing_in_extension"].append(" / ".join(group))
    return kinds


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
