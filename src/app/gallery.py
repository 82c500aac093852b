"""The test images with what people and models say of them: found, ordered, and cut into pages."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from src.contenders import ORDER
from src.data.manifest import ImageRecord, Manifest
from src.errors import MissingFile, UserError
from src.metrics.report import flat
from src.places import Places

MOST_QUERY = 200
"""Characters of a search."""
PAGE = 24
"""Images on a page."""
METRICS = ("CIDEr", "METEOR", "ROUGE", "BLEU-4", "BERTScore", "semantic_similarity", "SPICE")
"""Of an image, in the order they are offered."""
Order = Literal["best first", "worst first", "file name"]


@dataclass(frozen=True)
class Entry:
    """A test image.

    Attributes:
        number: its place in the test split.
        captions: model -> what it says.
        figures: model -> metric -> figure of that caption.
    """

    number: int
    filename: str
    references: tuple[str, ...]
    captions: Mapping[str, str]
    figures: Mapping[str, Mapping[str, float]]

    @property
    def text(self) -> str:
        """All that a search looks through, in lower case."""
        return " ".join((self.filename, *self.references, *self.captions.values())).lower()


@dataclass(frozen=True)
class Album:
    """All test images of an evaluation.

    Attributes:
        images: their records, aligned with `entries`.
        models, metrics: by which they can be ordered.
        digest: of the manifest that describes them.
    """

    entries: tuple[Entry, ...]
    images: tuple[ImageRecord, ...]
    models: tuple[str, ...]
    metrics: tuple[str, ...]
    digest: str

    def found(self, query: str, order: Order, model: str, metric: str) -> list[Entry]:
        """The images in which every word of the query occurs (as the beginning of a word), in the order asked for.

        Images without that figure come last; of equals the earlier image comes first. Of a query the first MOST_QUERY
        characters count.
        """
        wanted = {f" {word}" for word in query[:MOST_QUERY].lower().split()}
        texts = (f" {entry.text}" for entry in self.entries)
        chosen = [
            entry for entry, text in zip(self.entries, texts, strict=True) if all(word in text for word in wanted)
        ]
        if order == "file name":
            return sorted(chosen, key=lambda entry: entry.filename)
        sign = -1 if order == "best first" else 1
        figures = {entry.number: entry.figures.get(model, {}).get(metric) for entry in chosen}
        return sorted(chosen, key=lambda entry: _rank(figures[entry.number], sign))


def _rank(figure: float | None, sign: int) -> tuple[bool, float]:
    return figure is None, 0.0 if figure is None else sign * figure


def page(entries: Sequence[Entry], number: int) -> tuple[Sequence[Entry], int, int]:
    """The images of a page, its number (the nearest there is, from 1), and how many pages there are."""
    pages = max(1, -(-len(entries) // PAGE))
    number = min(max(1, number), pages)
    return entries[(number - 1) * PAGE : number * PAGE], number, pages


@dataclass
class Albums:
    """The album of the last evaluation, read again when that has changed; shared by all visitors."""

    places: Places
    _album: Album | None = None
    _read: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> Album:
        """Raises UserError: nothing is evaluated yet, or the evaluation is of other images than the dataset has."""
        path = self.places.evaluation
        with self._lock:
            if not path.exists():
                raise MissingFile("No test images are captioned yet. Run `dvc repro`: it evaluates what it trains.")
            changed = path.stat().st_mtime_ns
            if self._album is None or changed != self._read:
                self._album, self._read = _album(self.places), changed
            return self._album


def _album(places: Places) -> Album:
    manifest = Manifest.load(places.dataset)
    images = tuple(manifest.split("test"))
    try:
        models = json.loads(places.evaluation.read_text(encoding="utf-8"))["models"]
        names = sorted(models, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
        columns = {name: models[name]["test_images"] for name in names}
        figures = {name: [flat(image["evaluation_metrics"]) for image in columns[name]] for name in names}
        said = {name: [str(image["generated_caption"]) for image in columns[name]] for name in names}
        files = {tuple(image["filename"] for image in column) for column in columns.values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{places.evaluation} is damaged ({error!r}): run `dvc repro -f evaluate`") from None
    if files != {tuple(image.filename for image in images)}:
        raise UserError(f"{places.evaluation} is of other images than {places.dataset}: run `dvc repro evaluate`")
    entries = tuple(
        Entry(
            number,
            image.filename,
            image.captions,
            {name: said[name][number] for name in names},
            {name: figures[name][number] for name in names},
        )
        for number, image in enumerate(images)
    )
    measured = {metric for name in names for of_image in figures[name] for metric in of_image}
    metrics = tuple(metric for metric in METRICS if metric in measured)
    return Album(entries, images, tuple(names), metrics, manifest.digest)
