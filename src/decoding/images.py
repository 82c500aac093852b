"""Captions for images of the manifest, from cached grids, or from the images where the model's encoder has learnt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float16

from src.config import Settings
from src.data.manifest import Manifest
from src.decoding.describe import Caption, describe_rows
from src.encoders.cache import Embeddings, encode
from src.errors import UserError
from src.models.captioner import Captioner


def describe_images(
    captioner: Captioner, embeddings: Embeddings, manifest: Manifest, rows: list[int], settings: Settings
) -> Iterator[list[Caption]]:
    """The captions of chosen images, best first, in the order of `rows`.

    Raises:
        UserError: the model was trained on other grids than the cache holds.
    """
    grids: Float16[np.ndarray, "row region feature"] = embeddings.grids
    places = rows
    if difference := captioner.provenance.difference(embeddings.provenance):
        if not captioner.tuned or captioner.encoder is None:
            raise UserError(f"the model was trained on other grids than {embeddings.folder} holds ({difference})")
        images = [manifest.images[row] for row in rows]
        grids = encode(captioner.encoder, images, settings.dataset.root, settings.embed, captioner.device)
        places = list(range(len(rows)))
    yield from describe_rows(captioner, grids, places, settings.decode)
