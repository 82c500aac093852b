"""What the figures of a pipeline run are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from src.config import Settings
from src.data.images import ImageBytes, decode
from src.data.manifest import ImageRecord, Manifest
from src.encoders.cache import Embeddings
from src.errors import UserError
from src.models.captioner import Captioner
from src.visualize.evaluated import Evaluated
from src.visualize.heat import Look
from src.visualize.looks import looks

PIXELS = 640
"""Larger photographs may be decoded smaller, as long as they keep this many on each side."""


@dataclass(frozen=True)
class Material:
    """Images, models and what they said; test images are known by their place among the test images.

    Attributes:
        captioners: the trained model, then the other cell's where it can be asked.
        metric: that images are ranked by.
        evaluated: model -> its captions of the test images, the trained one first.
        read: the bytes of images.
    """

    settings: Settings
    manifest: Manifest
    embeddings: Embeddings
    captioners: Sequence[Captioner]
    metric: str
    evaluated: Mapping[str, Evaluated]
    read: ImageBytes

    @property
    def own(self) -> str:
        """Name of the trained model."""
        return self.captioners[0].name

    def record(self, position: int) -> ImageRecord:
        return self.manifest.images[self.manifest.rows("test")[position]]

    def picture(self, image: ImageRecord) -> Image.Image:
        return decode(self.read(image.location), image.name, at_least=PIXELS)

    def named(self, names: Sequence[str]) -> list[int]:
        """Places of test images by file name.

        Raises:
            UserError: there is no such test image.
        """
        places = {image.filename: place for place, image in enumerate(self.manifest.split("test"))}
        if unknown := [name for name in names if name not in places]:
            raise UserError(f"visualize.images: {', '.join(unknown)}: no test image has that file name")
        return [places[name] for name in names]

    def looks(self, captioner: Captioner, positions: Sequence[int]) -> list[Look]:
        """What a model says of test images, with the search that it was evaluated with, and where it looks."""
        searched = self.settings.decode if captioner is self.captioners[0] else captioner.decode
        said, rows = self.evaluated[captioner.name].captions, self.manifest.rows("test")
        return looks(
            captioner,
            self.embeddings,
            self.manifest,
            [rows[position] for position in positions],
            self.settings.model_copy(update={"decode": searched}),
            [said[position] for position in positions],
        )
