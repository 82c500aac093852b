"""What a reader returns: every image and caption of a distribution, faults included.

A reader is a module of this package named after its dataset (`flickr8k`, `flickr30k`, `coco`, `sample`) with

    read(root: Path) -> Reading

where `root` is `dataset.root`; it finds its files in `root/<dataset>`. A reader reports what it meets and judges
nothing: `src.data.integrity` decides which images stay, `src.data.dataset` makes the manifest of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from src.data.manifest import Box, Location, Split
from src.errors import UserError


class DataError(UserError):
    """A dataset cannot be read; the message names the file and says how to get or repair it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One image that lies in the distribution.

    Attributes:
        filename: unique in its dataset, without folders ('1000268201_693b08cb0e.jpg').
        captions: as written, in the order of the distribution; empty when nobody described the image.
        splits: the splits that claim the image: one for a sound image, none or several for a faulty one.
        boxes: true rectangles of its objects, where the dataset has them.
    """

    filename: str
    location: Location
    captions: tuple[str, ...]
    splits: tuple[Split, ...]
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Reading:
    """A distribution as it lies on disk.

    Attributes:
        candidates: one per image file name; of duplicates the first.
        captions_without_image: file name to its captions, for images that the distribution lacks.
        splits_without_image: file names that a split lists, without image or caption.
        duplicate_names: file names that more than one file or archive member bears.
        unreadable_lines: lines of caption files that say nothing, as 'file:line: text'.
        notes: decisions the reader took that a person should know ("no split files: ... "), one sentence each.
    """

    dataset: str
    candidates: tuple[Candidate, ...]
    captions_without_image: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    splits_without_image: tuple[str, ...] = ()
    duplicate_names: tuple[str, ...] = ()
    unreadable_lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Reader = Callable[[Path], Reading]


def reader(dataset: str) -> Reader:
    """The reader of a dataset named in `src.config.DATASETS`."""
    read: Reader = import_module(f"src.data.{dataset}").read
    return read


def assemble(
    dataset: str,
    images: Mapping[str, Location],
    captions: Mapping[str, Sequence[str]],
    splits: Mapping[str, Sequence[Split]],
    *,
    duplicate_names: Sequence[str] = (),
    unreadable_lines: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Reading:
    """Join what a distribution keeps apart: image files, captions and splits, each by file name, and sort."""
    return Reading(
        dataset,
        tuple(
            Candidate(name, images[name], tuple(captions.get(name, ())), tuple(splits.get(name, ())))
            for name in sorted(images)
        ),
        {name: tuple(captions[name]) for name in sorted(captions) if name not in images},
        tuple(name for name in sorted(splits) if name not in images and name not in captions),
        tuple(duplicate_names),
        tuple(unreadable_lines),
        tuple(notes),
    )


def divide(names: Iterable[str], val: float, test: float) -> dict[str, tuple[Split, ...]]:
    """Divide images that nobody divided: the given shares become 'val' and 'test', the others 'train'.

    Chosen by the SHA-256 of the name, so the same names are divided alike on every machine.
    """
    shuffled = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    first, second = round(len(shuffled) * test), round(len(shuffled) * (test + val))
    return {
        name: ("test",) if place < first else ("val",) if place < second else ("train",)
        for place, name in enumerate(shuffled)
    }
