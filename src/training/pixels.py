"""Pictures for a model that learns from them: decoded by threads, at the model's size."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from src.data.images import ImageBytes, decode
from src.data.manifest import Manifest

Pixels = Callable[[Image.Image], UInt8[np.ndarray, "3 row column"]]


class PixelReader:
    """Reads pictures by row of the manifest, where `GridReader` reads cached grids.

    Args:
        pixels: brings a picture to the model's size.
        at_least: that size; larger JPEGs are decoded smaller.
        remember: bytes of decoded pictures that are kept, so that later epochs decode none of them again.
    """

    def __init__(
        self, pixels: Pixels, at_least: int, manifest: Manifest, root: Path, workers: int, remember: int = 0
    ) -> None:
        self.pixels, self.at_least, self.manifest = pixels, at_least, manifest
        self.read = ImageBytes(root)
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="pixels")
        self.room = remember
        self.known: dict[int, UInt8[np.ndarray, "3 row column"]] = {}

    def __call__(self, rows: Int[np.ndarray, " image"]) -> UInt8[Tensor, "image 3 row column"]:
        pictures = list(self.pool.map(self._picture, rows.tolist()))
        return torch.from_numpy(np.stack(pictures)) if pictures else torch.empty(0, dtype=torch.uint8)

    def _picture(self, row: int) -> UInt8[np.ndarray, "3 row column"]:
        if row in self.known:
            return self.known[row]
        image = self.manifest.images[row]
        picture = self.pixels(decode(self.read(image.location), image.name, at_least=self.at_least))
        if picture.nbytes <= self.room:  # two threads may spend the same bytes: a limit to keep to, not to count by
            self.room -= picture.nbytes
            self.known[row] = picture
        return picture
