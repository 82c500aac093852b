"""Captions for images of the manifest, from cached grids, or from the images where the model's encoder has learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float16

from src.config import Decode, Settings
from src.data.manifest import Manifest
from src.decoding.describe import Caption, describe
from src.encoders.cache import Embeddings, encode
from src.errors import UserError
from src.models.captioner import Captioner
from src.portions import Portions


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


def describe_rows(
    captioner: Captioner, grids: Float16[np.ndarray, "row region feature"], rows: Sequence[int], settings: Decode
) -> Iterator[list[Caption]]:
    """`describe` for chosen rows of a large array, `settings.batch_images` at a time, in the order of `rows`.

    Raises:
        UserError: one image is too much for the GPU's memory; as for `describe`.
    """

    def described(some: slice) -> list[list[Caption]]:
        chosen = torch.from_numpy(grids[list(rows[some])]).to(captioner.device)
        return describe(captioner.decoder, captioner.vocabulary, chosen, settings, captioner.expectation)

    for captions in Portions(settings.batch_images, "use a smaller decode.beam_size").of(len(rows), described):
        yield from captions
