"""Pictures for an encoder that learns: decoded by threads, at the encoder's size."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from src.data.images import ImageBytes, decode
from src.data.manifest import Manifest
from src.encoders.encoder import Encoder


class PixelReader:
    """Reads pictures by row of the manifest, where `GridReader` reads cached grids."""

    def __init__(self, encoder: Encoder, manifest: Manifest, root: Path, workers: int) -> None:
        self.encoder, self.manifest = encoder, manifest
        self.read = ImageBytes(root)
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="pixels")

    def __call__(self, rows: Int[np.ndarray, " image"]) -> UInt8[Tensor, "image 3 row column"]:
        pictures = list(self.pool.map(self._picture, rows.tolist()))
        return torch.from_numpy(np.stack(pictures)) if pictures else torch.empty(0, dtype=torch.uint8)

    def _picture(self, row: int) -> UInt8[np.ndarray, "3 row column"]:
        image = self.manifest.images[row]
        return self.encoder.pixels(decode(self.read(image.location), image.name, at_least=self.encoder.image_size))
