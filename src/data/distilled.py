"""Captions of a model that join people's: what the stage `distill` leaves, and training reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from src.data.manifest import ImageRecord, Manifest
from src.data.tokens import words
from src.errors import MissingFile


def read(path: Path) -> dict[str, str]:
    """A model's captions by image name. Raises MissingFile, saying how to make them."""
    if not path.exists():
        raise MissingFile(f"{path} is missing: run `dvc repro distill`, or set train.distill=0")
    captions: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return captions


def joined(manifest: Manifest, captions: Mapping[str, str]) -> Manifest:
    """The manifest with a further caption for each training image that has one; other splits keep what people wrote."""

    def taught(image: ImageRecord) -> ImageRecord:
        caption = captions.get(image.name, "")
        if image.split != "train" or not words(caption):
            return image
        return replace(image, captions=(*image.captions, caption), words=(*image.words, words(caption)))

    return Manifest.of(map(taught, manifest.images)) if captions else manifest
