"""A beam's hypotheses in a new order: the decoder's own log-probability, and what another model makes of them
(noisy-channel reranking's log-linear score, Och and Ney 2002)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from src.config import Decode
from src.data.images import ImageBytes, decode
from src.data.manifest import ImageRecord
from src.decoding.describe import Caption
from src.decoding.order import best_first
from src.models.baseline import Baseline


def rerank(hypotheses: Sequence[Caption], likelihoods: Sequence[float], settings: Decode) -> list[Caption]:
    """Best first by (own + rerank_weight x other) log-probability, over n ** length_penalty for n words (the end counts
    as one, where there was room for it), as the beam itself ranks.

    Args:
        likelihoods: the other model's natural logarithms, one for each hypothesis.
    """

    def score(caption: Caption, likelihood: float) -> float:
        total = caption.log_probability + settings.weight * likelihood
        return float(total / min(len(caption.words) + 1, settings.max_words) ** settings.length_penalty)

    return best_first(hypotheses, [score(*both) for both in zip(hypotheses, likelihoods, strict=True)])


def reranked(
    found: Iterable[list[Caption]], images: Sequence[ImageRecord], root: Path, baseline: Baseline, settings: Decode
) -> Iterator[list[Caption]]:
    """Each image's hypotheses in the order that the baseline's likelihood gives them, some images at a time.

    Args:
        images: aligned with `found`.
        root: where their pictures lie.
    """
    read, waiting, size = ImageBytes(root), iter(found), baseline.settings.batch_images
    for start in range(0, len(images), size):
        beams = list(islice(waiting, size))
        pictures = [decode(read(image.location), image.name) for image in images[start : start + size]]
        likelihoods = baseline.log_likelihood(pictures, [[caption.text for caption in beam] for beam in beams])
        for beam, own in zip(beams, likelihoods, strict=True):
            yield rerank(beam, own, settings)
