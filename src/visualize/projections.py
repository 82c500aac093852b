"""Points of many dimensions on a plane: by PCA, by t-SNE, and by UMAP where it is installed."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np
from jaxtyping import Float

PCA_DIMENSIONS = 50
"""That t-SNE and UMAP start from: less noise, and a tenth of the time."""
PERPLEXITY = 30.0
UMAP_NEIGHBOURS = 15
PCA, TSNE, UMAP = "PCA", "t-SNE", "UMAP"

Plane = Float[np.ndarray, "point 2"]


def has_umap() -> bool:
    """Whether UMAP is installed: `pip install umap-learn`."""
    return find_spec("umap") is not None


def projections(vectors: Float[np.ndarray, "point feature"], seed: int) -> dict[str, Plane]:
    """The same points on each plane; the same seed gives the same planes.

    t-SNE (van der Maaten and Hinton 2008) and UMAP (McInnes et al. 2018) keep near what is near; far apart says little
    there. PCA keeps the largest distances. Each is turned so that its longer side lies flat.

    Args:
        vectors: at least four points, of unit length.
    """
    # Imported late: it takes a second.
    from sklearn.decomposition import PCA as Components
    from sklearn.manifold import TSNE as Neighbours

    points, features = vectors.shape
    reduced = Components(min(PCA_DIMENSIONS, points, features), random_state=seed).fit_transform(vectors)
    planes = {PCA: reduced[:, :2]}
    perplexity = min(PERPLEXITY, (points - 1) / 3)
    planes[TSNE] = Neighbours(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    if has_umap():
        from umap import UMAP as Manifold

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a seed forbids threads, of which it warns each time
            neighbours = min(UMAP_NEIGHBOURS, points - 1)
            planes[UMAP] = Manifold(n_neighbors=neighbours, random_state=seed).fit_transform(reduced)
    return {name: _flat(plane) for name, plane in planes.items()}


def _flat(plane: Plane) -> Plane:
    """Scaled to the square from 0 to 1, the longer side across."""
    if np.ptp(plane[:, 1]) > np.ptp(plane[:, 0]):
        plane = plane[:, ::-1]
    low, high = plane.min(axis=0), plane.max(axis=0)
    return np.asarray((plane - low) / np.where(high > low, high - low, 1), np.float64)
