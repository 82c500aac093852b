"""BLEU, ROUGE-L and CIDEr by pycocoevalcap's own scorers, on tokens that the PTB tokeniser has made.

Each function takes, image by image, the references and the caption as tokens joined by spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from src.metrics.scores import Figures, Measured, Sums, Unscorable, averaged

LONGEST_NGRAM = 4
# So that pycocoevalcap divides by no zero and takes no root of one.
_SMALL, _TINY = 1e-9, 1e-15


def bleu(references: Sequence[Sequence[str]], captions: Sequence[str]) -> dict[str, Measured]:
    """BLEU-1 to BLEU-4 (Papineni et al. 2002), closest reference length; a single image's is smoothed by 1e-15."""
    scorer = BleuScorer(n=LONGEST_NGRAM)
    for of_image, caption in zip(references, captions, strict=True):
        scorer += (caption, of_image)
    overall, per_image = scorer.compute_score(option="closest")
    parts = np.array(
        [
            [counts["testlen"], min((abs(n - counts["testlen"]), n) for n in counts["reflen"])[1]]
            + counts["correct"]
            + counts["guess"]
            for counts in scorer.ctest
        ],
        dtype=np.float64,
    )
    return {
        f"BLEU-{size}": Measured(
            float(figure), [float(one) for one in figures], Sums(parts, partial(bleu_of, size=size))
        )
        for size, (figure, figures) in enumerate(zip(overall, per_image, strict=True), start=1)
    }


def bleu_of(sums: Figures, size: int) -> Figures:
    """BLEU of n-grams up to `size` (Papineni et al. 2002, section 2.3), as pycocoevalcap keeps it from zero.

    Args:
        sums: words said, words of the closest references, then per size of n-gram (one to four) how many are right and
            how many were said, shape [..., 10].
    """
    said, wanted = sums[..., 0], sums[..., 1]
    right, guessed = sums[..., 2 : 2 + size], sums[..., 2 + LONGEST_NGRAM : 2 + LONGEST_NGRAM + size]
    precision = np.prod((right + _TINY) / (guessed + _SMALL), axis=-1) ** (1 / size)
    ratio = (said + _TINY) / (wanted + _SMALL)
    return np.asarray(precision * np.exp(np.minimum(0.0, 1 - 1 / ratio)))


def rouge(references: Sequence[Sequence[str]], captions: Sequence[str]) -> Measured:
    """ROUGE-L (Lin 2004), F-measure with beta 1.2; the corpus figure is the mean."""
    return averaged(Rouge().compute_score(*_as_pycocoevalcap(references, captions))[1])


def cider(references: Sequence[Sequence[str]], captions: Sequence[str]) -> Measured:
    """CIDEr-D (Vedantam et al. 2015), document frequencies from these references; the corpus figure is the mean.

    Raises:
        Unscorable: no reference has a word, so there are no document frequencies.
    """
    if not any(reference.split() for of_image in references for reference in of_image):
        raise Unscorable(f"none of the references of {len(references)} images has a word: CIDEr is not defined")
    return averaged(Cider().compute_score(*_as_pycocoevalcap(references, captions))[1])


def _as_pycocoevalcap(
    references: Sequence[Sequence[str]], captions: Sequence[str]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    truth = {image: list(of_image) for image, of_image in enumerate(references)}
    said = {image: [caption] for image, caption in enumerate(captions)}
    return truth, said
