"""Models asked again about chosen images: what each says, and where it looks as it says it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from src.config import Settings
from src.data.manifest import Manifest
from src.data.sentence import sentence
from src.decoding.images import describe_images, describe_rows
from src.encoders.cache import Embeddings, encode
from src.models.captioner import Captioner
from src.visualize.heat import Look


def looks(
    captioner: Captioner,
    embeddings: Embeddings,
    manifest: Manifest,
    rows: Sequence[int],
    settings: Settings,
    evaluated: Sequence[str] = (),
) -> list[Look]:
    """One look per row, with the search of `settings.decode`.

    Args:
        captioner: one with its encoder is shown the pictures where the cache holds other grids than its own.
        evaluated: the captions that were evaluated, one per row: of the beam's hypotheses that one is taken, where it
            is not the first (another model had a say in it).

    Raises:
        UserError: a captioner without its encoder was trained on other grids than the cache holds.
    """
    rows = list(rows)
    with torch.inference_mode():
        if captioner.encoder is not None and captioner.provenance.difference(embeddings.provenance):
            images = [manifest.images[row] for row in rows]
            grids = encode(captioner.encoder, images, settings.dataset.root, settings.embed, captioner.device)
            found = list(describe_rows(captioner, grids, range(len(rows)), settings.decode))
        else:
            found = list(describe_images(captioner, embeddings, manifest, rows, settings))
    chosen = [
        next(
            (caption for caption in beam if position < len(evaluated) and caption.text == evaluated[position]), beam[0]
        )
        for position, beam in enumerate(found)
    ]
    shape = captioner.provenance
    return [
        Look(
            captioner.name,
            caption.words,
            caption.attention.float().numpy(),
            shape.rows,
            shape.columns,
            sentence(caption.text),
        )
        for caption in chosen
    ]
