"""The expectation that a captioner carries, learnt from the images and captions that train its decoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float16
from torch import Tensor

from src.config import Settings
from src.data.manifest import Manifest
from src.data.vocabulary import Vocabulary
from src.encoders.cache import Embeddings
from src.models.expectation import Expectation

MOST_IMAGES = 8192
"""Training images that it learns from: a solution takes their number squared in memory (256 MiB), cubed in time."""
AT_ONCE = 256
"""Images whose grids are read at a time."""


def expect(manifest: Manifest, vocabulary: Vocabulary, embeddings: Embeddings, settings: Settings) -> Expectation:
    """Learn from the training split, as people wrote of it."""
    rows = evenly_chosen(manifest.rows("train"))
    words = settings.prepare.max_words
    written = [[vocabulary.encode(caption[:words]) for caption in manifest.images[row].words] for row in rows]
    return Expectation.learn(mean_features(embeddings.grids, rows), written)


def mean_features(
    grids: Float16[np.ndarray, "row region feature"], rows: Sequence[int]
) -> Float[Tensor, "image feature"]:
    """Each image's mean over its regions, of chosen rows of a large array."""
    parts = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
    return torch.cat([torch.from_numpy(grids[list(part)]).float().mean(dim=1) for part in parts])


def evenly_chosen(rows: Sequence[int]) -> list[int]:
    """At most `MOST_IMAGES` of the rows."""
    many = min(len(rows), MOST_IMAGES)
    return [rows[place * len(rows) // many] for place in range(many)]
