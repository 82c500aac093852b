"""CIDEr-D (Vedantam, Zitnick and Parikh 2015, section 4 and eq. 3-5) as the COCO caption tools compute it, but fast.

What depends only on the references is worked out once, so scoring a set of captions costs a few tens of milliseconds
and can be done every epoch, or for every batch as a reward. A word may be anything hashable: text or an id.

Three habits of the COCO tools are kept, so that figures are comparable: a caption's length is its number of bigrams,
an n-gram no reference holds counts as held by one image, and a corpus of a single image scores 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LONGEST_NGRAM = 4
LENGTH_DEVIATION = 6.0
SCALE = 10.0

Words = Sequence[Hashable]
Ngram = tuple[Hashable, ...]


class Rarity(Protocol):
    """How much each n-gram tells."""

    def __getitem__(self, ngram: Ngram) -> float: ...


class InverseDocumentFrequency:
    """How much an n-gram tells: log(images) - log(images that have it in a reference).

    `references` holds the references of each image of the corpus; it is read once and not kept.
    """

    def __init__(self, references: Iterable[Sequence[Words]]) -> None:
        holders: Counter[Ngram] = Counter()
        images = 0
        for captions in references:
            images += 1
            holders.update({ngram for caption in captions for ngram in count_ngrams(caption)})
        if not images:
            raise ValueError("document frequencies need the references of one image at least")
        self.unseen = math.log(images)
        self._seen = {ngram: self.unseen - math.log(count) for ngram, count in holders.items()}

    def __getitem__(self, ngram: Ngram) -> float:
        return self._seen.get(ngram, self.unseen)

    def common(self, images: int) -> dict[Ngram, float]:
        """The n-grams that at least so many images have in a reference, in no particular order."""
        most = self.unseen - math.log(images - 0.5)
        return {ngram: told for ngram, told in self._seen.items() if told <= most}


class Evenly:
    """Every n-gram tells the same: for comparing captions where no corpus is at hand."""

    def __getitem__(self, ngram: Ngram) -> float:
        return 1.0


class ImageReferences:
    """The references of one image, ready to be compared with captions."""

    def __init__(self, references: Sequence[Words], idf: Rarity) -> None:
        if not references:
            raise ValueError("an image without references cannot be scored")
        self._idf = idf
        self._lengths = [length(reference) for reference in references]
        # For each n-gram: (which reference, its weight there, that weight over the reference's norm).
        self._holders: dict[Ngram, list[tuple[int, float, float]]] = {}
        for index, reference in enumerate(references):
            weights, norms = weigh(reference, idf)
            for ngram, weight in weights.items():
                if weight:
                    share = weight / norms[len(ngram) - 1]
                    self._holders.setdefault(ngram, []).append((index, weight, share))

    def score(self, caption: Words) -> float:
        """CIDEr-D of one caption, from 0 to 10."""
        return sum(self.similarities(caption)) / len(self._lengths)

    def similarities(self, caption: Words) -> list[float]:
        """CIDEr-D of one caption with each reference, from 0 to 10."""
        weights, norms = weigh(caption, self._idf)
        matches = [0.0] * len(self._lengths)
        for ngram, weight in weights.items():
            for index, reference_weight, share in self._holders.get(ngram, ()):
                matches[index] += min(weight, reference_weight) * share / norms[len(ngram) - 1]
        own = length(caption)
        return [
            SCALE / LONGEST_NGRAM * match * math.exp(-((own - reference_length) ** 2) / (2 * LENGTH_DEVIATION**2))
            for match, reference_length in zip(matches, self._lengths, strict=True)
        ]


class CiderScorer:
    """Scores captions of a fixed list of images, as often as wanted.

    Args:
        references: for each image its references, each a sequence of words.
        idf: document frequencies of another corpus; those of `references` when not given.

    Raises:
        ValueError: an image has no references (its position is named), or there is no image.
    """

    def __init__(self, references: Sequence[Sequence[Words]], idf: InverseDocumentFrequency | None = None) -> None:
        for position, captions in enumerate(references):
            if not captions:
                raise ValueError(f"image {position} of {len(references)} has no references")
        self.idf = idf or InverseDocumentFrequency(references)
        self._images = [ImageReferences(captions, self.idf) for captions in references]

    def score(self, captions: Sequence[Words]) -> NDArray[np.float64]:
        """CIDEr-D of each image's caption, aligned with the references, shape [image]; the corpus score is the mean.

        Raises:
            ValueError: there are more or fewer captions than images.
        """
        if len(captions) != len(self._images):
            raise ValueError(f"{len(captions)} captions for {len(self._images)} images: give one caption per image")
        pairs = zip(self._images, captions, strict=True)
        return np.array([image.score(caption) for image, caption in pairs], dtype=np.float64)


def count_ngrams(words: Words) -> Counter[Ngram]:
    """How often each run of one to four words occurs."""
    if isinstance(words, str):
        raise TypeError(f"split {words!r} into words: a string would be scored letter by letter")
    words = tuple(words)
    return Counter(
        words[start : start + size] for size in range(1, LONGEST_NGRAM + 1) for start in range(len(words) - size + 1)
    )


def weigh(words: Words, idf: Rarity) -> tuple[dict[Ngram, float], list[float]]:
    """The tf-idf weight of each n-gram, and the Euclidean norm of the weights of each size, from one word on."""
    weights = {ngram: count * idf[ngram] for ngram, count in count_ngrams(words).items()}
    squares = [0.0] * LONGEST_NGRAM
    for ngram, weight in weights.items():
        squares[len(ngram) - 1] += weight * weight
    return weights, [math.sqrt(square) for square in squares]


def length(words: Words) -> int:
    """As the COCO tools count it."""
    return max(0, len(words) - 1)
