"""How far things that are alike lie together, in the space of the images, of the captions, and between the two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

NEIGHBOURS = 10
AT_ONCE = 4096
"""Points that are compared with all others at a time: of 25,000 captions all at once would take ten GB."""


def nearest(vectors: Float[np.ndarray, "point feature"], neighbours: int) -> Int[np.ndarray, "point neighbour"]:
    """Each point's nearest others by cosine, the nearest first; vectors have unit length."""
    parts = []
    for start in range(0, len(vectors), AT_ONCE):
        unlike = -(vectors[start : start + AT_ONCE] @ vectors.T)
        own = np.arange(len(unlike))
        unlike[own, start + own] = np.inf
        found = np.argpartition(unlike, neighbours - 1, axis=1)[:, :neighbours]
        order = np.argsort(np.take_along_axis(unlike, found, axis=1), axis=1, kind="stable")
        parts.append(np.take_along_axis(found, order, axis=1))
    return np.concatenate(parts)


def overlap(
    first: Float[np.ndarray, "point feature"], second: Float[np.ndarray, "point other"], neighbours: int
) -> float:
    """The share of a point's nearest neighbours in one space that are among its nearest in the other, on average."""
    theirs = nearest(second, neighbours)
    shared = [len(np.intersect1d(mine, other)) for mine, other in zip(nearest(first, neighbours), theirs, strict=True)]
    return float(np.mean(shared) / neighbours)


def silhouette(vectors: Float[np.ndarray, "point feature"], labels: Int[np.ndarray, " point"]) -> float:
    """Rousseeuw (1987), by cosine distance: 1 where every point lies among its own cluster, 0 where clusters run into
    each other, below where points lie nearer to another cluster."""
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(vectors, labels, metric="cosine"))


def nearness(
    images: Float[np.ndarray, "image feature"],
    captions: Float[np.ndarray, "image other"],
    sentences: Float[np.ndarray, "caption other"],
    owners: Sequence[int],
    image_clusters: Int[np.ndarray, " image"],
    caption_clusters: Int[np.ndarray, " image"],
) -> dict[str, float]:
    """All of it as plain numbers.

    Args:
        images, captions: unit vectors of each image's picture, and of its captions together.
        sentences: of each caption by itself; `owners` tells its image (0, 1, ...).

    Returns:
        images, and neighbours, how many nearest ones are looked at;
        neighbour_overlap: the share of an image's nearest by picture that are also among its nearest by caption, and
        what chance would give;
        same_image_nearest: how often the caption nearest to a caption is of the same image, and what chance would
        give; absent where no image has two captions;
        silhouette_X_by_Y: how far clusters of Y (pictures or captions) lie apart in the space of X.
    """
    count = len(images)
    neighbours = min(NEIGHBOURS, count - 1)
    figures = {
        "images": count,
        "neighbours": neighbours,
        "neighbour_overlap": overlap(images, captions, neighbours),
        "neighbour_overlap_by_chance": neighbours / (count - 1),
        "silhouette_images_by_images": silhouette(images, image_clusters),
        "silhouette_images_by_captions": silhouette(images, caption_clusters),
        "silhouette_captions_by_captions": silhouette(captions, caption_clusters),
        "silhouette_captions_by_images": silhouette(captions, image_clusters),
    }
    of = np.asarray(owners)
    several: Bool[np.ndarray, " caption"] = np.bincount(of)[of] > 1
    if several.any():
        found = of[nearest(sentences, 1)[:, 0]] == of
        figures["same_image_nearest"] = float(found[several].mean())
        figures["same_image_nearest_by_chance"] = float(((np.bincount(of)[of] - 1) / (len(of) - 1))[several].mean())
    return figures
