"""Pictures of one colour each, captions that name it, and settings with which a small BLIP learns them in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from PIL import Image

from src.config import Settings
from src.data.images import decode
from src.data.manifest import ImageRecord, Location, Manifest, Split
from src.data.vocabulary import VOCABULARY_FILE, Vocabulary
from src.models.baseline import Baseline
from src.places import Places

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}
COUNTS: dict[Split, int] = {"train": 16, "val": 4, "test": 5}


@dataclass(frozen=True)
class Coloured:
    """A prepared dataset."""

    folder: Path
    manifest: Manifest
    vocabulary: Vocabulary
    settings: Settings

    @property
    def places(self) -> Places:
        return self.places_in(self.folder)

    def places_in(self, folder: Path) -> Places:
        """The same dataset, everything else somewhere else."""
        return Places(
            dataset=self.folder / "dataset",
            baseline=folder / "baseline",
            baseline_report=folder / "baseline.json",
            distilled=folder / "distilled.json",
        )

    def changed(self, section: str = "baseline", **values: Any) -> Settings:
        everything = self.settings.model_dump()
        return Settings.model_validate(everything | {section: everything[section] | values})

    def baseline(self) -> Baseline:
        """A small BLIP with random weights."""
        return Baseline.tiny(self.settings.baseline, self.vocabulary)

    def pictures(self, split: Split) -> list[Image.Image]:
        return [decode(self.folder / "pictures" / image.location.path) for image in self.manifest.split(split)]


def drawn(folder: Path) -> Coloured:
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    random, images = np.random.default_rng(0), []
    for split, count in COUNTS.items():
        for number in range(count):
            name, colour = list(COLOURS.items())[number % len(COLOURS)]
            noise = random.integers(-20, 20, (20, 20, 3))
            Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(
                pictures / f"{split}{number}.png"
            )
            said = (("a", name, "picture"), ("this", "is", name))[: 1 + number % 2]
            images.append(
                ImageRecord(
                    f"coloured/{split}{number}.png", split, Location(f"{split}{number}.png", 0, 1), 20, 20,
                    tuple(map(" ".join, said)), said,
                )
            )  # fmt: skip
    manifest = Manifest.of(images)
    vocabulary = Vocabulary.build(words for image in manifest.split("train") for words in image.words)
    manifest.save(folder / "dataset")
    vocabulary.save(folder / "dataset" / VOCABULARY_FILE)
    settings = Settings.model_validate(
        {
            "dataset": {"root": pictures},
            "baseline": {
                "finetune_epochs": 2, "finetune_batch_images": 4, "batch_images": 2, "precision": "fp32",
                "learning_rate": 0.003, "warmup_steps": 2, "weight_decay": 0.0, "label_smoothing": 0.0,
                "beam_size": 2, "max_words": 6, "workers": 1, "adapt": tiny.UNADAPTED,
                "tiny": {
                    "image_size": 16, "patch_size": 8, "hidden_size": 32, "vision_layers": 1, "text_layers": 1,
                    "dropout": 0.1,
                },
            },
        }
    )  # fmt: skip
    return Coloured(folder, manifest, vocabulary, settings)


class Tracking:
    """In MLflow's place: which runs were gone on with, and what they were told."""

    def __init__(self) -> None:
        self.recorded = tiny.Remembered()
        self.resumed: list[str | None] = []

    @contextmanager
    def run(self, kind: str, *, resume: str | None, **facts: Any) -> Iterator[tiny.Remembered]:
        self.resumed.append(resume)
        yield self.recorded
