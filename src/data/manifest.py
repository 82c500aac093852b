"""The one description of images and captions that every dataset becomes.

`outputs/dataset/manifest.jsonl` has one line per image that is used: where its bytes lie, its split, its captions as
written and as words. Readers (one per distribution) produce it; everything after `prepare` reads only this.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from src.errors import MissingFile
from src.files import write_atomically

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
MANIFEST_FILE = "manifest.jsonl"


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of one image lie: a file, or a run of bytes inside an archive.

    Attributes:
        path: the loose file or the archive, relative to `dataset.root`, with forward slashes.
        offset: first byte in `path`; 0 for a loose file.
        size: number of bytes stored there.
        deflated: the bytes are a raw DEFLATE stream (RFC 1951), as zip members may be.
        crc32: checksum of the image's own bytes (RFC 1952): the archive's, or taken when the dataset was prepared; null
            where nobody knows it yet.
    """

    path: str
    offset: int
    size: int
    deflated: bool = False
    crc32: int | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A named object's true rectangle, in fractions of the image's width and height (0 = left or top)."""

    name: str
    left: float
    top: float
    right: float
    bottom: float
    words: tuple[str, ...] = ()
    """Nouns that captions use for the object ("dog", "puppy"), lower-case."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image with its captions.

    Attributes:
        name: unique in the manifest: '<dataset>/<file name>'.
        captions: as the annotators wrote them; the references of every metric.
        words: each caption as lower-case tokens without punctuation; what the decoder learns from.
    """

    name: str
    split: Split
    location: Location
    width: int
    height: int
    captions: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    boxes: tuple[Box, ...] = ()

    @property
    def dataset(self) -> str:
        return self.name.split("/", 1)[0]

    @property
    def filename(self) -> str:
        return self.name.split("/", 1)[1]

    def to_json(self) -> dict[str, Any]:
        # Field by field: `asdict` copies every string, which took more time than tokenising COCO.
        record: dict[str, Any] = {
            "name": self.name,
            "split": self.split,
            "location": asdict(self.location),
            "width": self.width,
            "height": self.height,
            "captions": self.captions,
            "words": [" ".join(words) for words in self.words],
        }
        if self.boxes:
            record["boxes"] = [asdict(box) for box in self.boxes]
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> ImageRecord:
        return cls(
            name=record["name"],
            split=record["split"],
            location=Location(**record["location"]),
            width=record["width"],
            height=record["height"],
            captions=tuple(record["captions"]),
            words=tuple(tuple(map(sys.intern, words.split())) for words in record["words"]),
            boxes=tuple(Box(**{**box, "words": tuple(box["words"])}) for box in record.get("boxes", ())),
        )


@dataclass(frozen=True)
class Manifest:
    """All images in use, in a fixed order: row i of the embedding cache is image i."""

    images: tuple[ImageRecord, ...]
    digest: str
    """SHA-256 over the lines of the file: changes when any image, caption or split does."""

    @classmethod
    def of(cls, images: Iterable[ImageRecord]) -> Manifest:
        images = tuple(images)
        digest = hashlib.sha256()
        for line in _lines(images):
            digest.update(line)
        return cls(images, digest.hexdigest())

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, split: Split) -> list[int]:
        """Positions of a split's images."""
        return [row for row, image in enumerate(self.images) if image.split == split]

    def split(self, split: Split) -> list[ImageRecord]:
        return [image for image in self.images if image.split == split]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(folder / MANIFEST_FILE) as file:
            for line in _lines(self.images):
                file.write(line)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Raises MissingFile, saying how to make it, when `folder` has no manifest."""
        path = folder / MANIFEST_FILE
        if not path.exists():
            raise MissingFile(f"{path} is missing: run `dvc repro prepare`")
        images, digest = [], hashlib.sha256()
        with path.open("rb") as file:
            for line in file:
                digest.update(line)
                images.append(ImageRecord.from_json(json.loads(line)))
        return cls(tuple(images), digest.hexdigest())


def _lines(images: Iterable[ImageRecord]) -> Iterator[bytes]:
    for image in images:
        yield (
            json.dumps(image.to_json(), ensure_ascii=False, separators=(",", ":")).encode(
                errors="surrogatepass"  # folders may have names that are no text
            )
            + b"\n"
        )
