"""Groups of points that lie together, and the words that tell them from the others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

MOST = 8
"""As many as there are colours that can be told apart."""
FEWEST_IN_ONE = 8
"""Images that a cluster should have on average: fewer images, fewer clusters."""
DIMENSIONS = 30
"""Principal components that clusters are sought in: of more, all distances are alike."""
TYPICAL_WORDS = 3


def clusters(vectors: Float[np.ndarray, "point feature"], seed: int) -> Int[np.ndarray, " point"]:
    """The cluster of each point, the largest being 0: k-means in the leading principal components."""
    # Imported late: it takes a second.
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    points, features = vectors.shape
    count = max(2, min(MOST, points // FEWEST_IN_ONE))
    reduced = PCA(min(DIMENSIONS, points, features), random_state=seed).fit_transform(vectors)
    found = KMeans(count, n_init=10, random_state=seed).fit_predict(reduced)
    order = np.argsort(-np.bincount(found, minlength=count), kind="stable")
    return np.asarray(np.argsort(order)[found])


def typical_words(
    captions: Sequence[Sequence[Sequence[str]]], labels: Int[np.ndarray, " image"], most: int = TYPICAL_WORDS
) -> list[list[str]]:
    """For each cluster the words that its images' captions have and others' do not, the most telling first.

    A word counts once an image. It is the more telling the larger its part in the Kullback-Leibler divergence of the
    cluster from all images: p log(p / q), p and q being the shares of images that have it. Function words are left
    out, and of a word's forms all but the most telling.

    Args:
        captions: of each image, as words.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    said = [{word for caption in of_image for word in caption} - ENGLISH_STOP_WORDS for of_image in captions]
    overall = Counter(word for words in said for word in words)
    typical = []
    for cluster in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == cluster)
        own = Counter(word for image in members for word in said[image])

        def telling(word: str, own: Counter[str] = own, size: int = len(members)) -> float:
            share = own[word] / size
            return share * math.log(share * len(said) / overall[word])

        words: list[str] = []
        for word in sorted(own, key=lambda word: (-telling(word), word)):
            if len(words) == most or telling(word) <= 0:
                break
            if len(word) > 2 and not any(_alike(word, other) for other in words):
                words.append(word)
        typical.append(words)
    return typical


def _alike(first: str, second: str) -> bool:
    """Whether two words seem to be forms of one: dog and dogs, ride and riding, snow and snowy."""
    alike = next((place for place, (one, two) in enumerate(zip(first, second, strict=False)) if one != two), None)
    shorter = min(len(first), len(second))
    return (shorter if alike is None else alike) >= max(3, shorter - 1)
