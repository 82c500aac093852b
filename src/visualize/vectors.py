"""Images and captions as points: what maps and neighbourhoods are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16

from src.data.manifest import Manifest
from src.hub import quietly
from src.metrics.bertscore import packaged

AT_ONCE = 128


def chosen_rows(manifest: Manifest, most: int, seed: int) -> list[int]:
    """At most so many rows of the manifest, in its order: test images first, then, while there is room, validation and
    training images; those of the split that does not fit any more are drawn by lot."""
    rows: list[int] = []
    lot = np.random.default_rng(seed)
    for split in ("test", "val", "train"):
        own = manifest.rows(split)
        room = most - len(rows)
        rows += own if len(own) <= room else lot.choice(own, room, replace=False).tolist()
    return sorted(rows)


def image_vectors(
    grids: Float16[np.ndarray, "row region feature"], rows: Sequence[int]
) -> Float[np.ndarray, "image feature"]:
    """Unit vectors: each image's grid averaged over its regions, the mean of all images taken away.

    Features of a CNN are positive, so without the latter any two images point the same way.
    """
    pooled = np.stack([np.asarray(grids[row], np.float32).mean(axis=0) for row in rows])
    return _unit(pooled - pooled.mean(axis=0))


def caption_vectors(captions: Sequence[str]) -> Float[np.ndarray, "caption feature"]:
    """Unit vectors by all-MiniLM-L6-v2 (Reimers and Gurevych 2019: the mean over a sentence's tokens), from pip.

    A caption that occurs several times is read once.
    """
    # Imported late: together they take seconds.
    from transformers import AutoModel, AutoTokenizer

    with quietly():
        tokeniser: Any = AutoTokenizer.from_pretrained(packaged())
        model: Any = AutoModel.from_pretrained(packaged()).eval()
    different = sorted(set(captions), key=lambda caption: (len(caption), caption))  # alike lengths: little padding
    parts = []
    with torch.inference_mode():
        for start in range(0, len(different), AT_ONCE):
            batch = tokeniser(different[start : start + AT_ONCE], padding=True, truncation=True, return_tensors="pt")
            states = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            parts.append(((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy())
    place = {caption: position for position, caption in enumerate(different)}
    return _unit(np.concatenate(parts))[[place[caption] for caption in captions]]


def averaged(
    vectors: Float[np.ndarray, "caption feature"], owners: Sequence[int]
) -> Float[np.ndarray, "image feature"]:
    """Unit vectors: the mean of each image's captions, of which `owners` tells the image (0, 1, ...)."""
    sums = np.zeros((max(owners) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, np.asarray(owners), vectors)
    return _unit(sums - sums.mean(axis=0))


def _unit(vectors: Float[np.ndarray, "point feature"]) -> Float[np.ndarray, "point feature"]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
