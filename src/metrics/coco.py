"""BLEU, ROUGE-L and CIDEr by pycocoevalcap's own scorers, on tokens that the PTB tokeniser has made.

Each function takes, image by image, the references and the caption as tokens joined by spaces.
"""

from __future__ import annotations

from collections.abc import Sequence

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from src.metrics.scores import Measured

LONGEST_NGRAM = 4


def bleu(references: Sequence[Sequence[str]], captions: Sequence[str]) -> dict[str, Measured]:
    """BLEU-1 to BLEU-4 (Papineni et al. 2002), closest reference length; a single image's is smoothed by 1e-15."""
    overall, per_image = Bleu(LONGEST_NGRAM).compute_score(*_as_pycocoevalcap(references, captions), verbose=0)
    return {
        f"BLEU-{size}": _measured(figure, figures)
        for size, (figure, figures) in enumerate(zip(overall, per_image, strict=True), start=1)
    }


def rouge(references: Sequence[Sequence[str]], captions: Sequence[str]) -> Measured:
    """ROUGE-L (Lin 2004), F-measure with beta 1.2; the corpus figure is the mean."""
    return _measured(*Rouge().compute_score(*_as_pycocoevalcap(references, captions)))


def cider(references: Sequence[Sequence[str]], captions: Sequence[str]) -> Measured:
    """CIDEr-D (Vedantam et al. 2015), document frequencies from these references; the corpus figure is the mean.

    Raises:
        ValueError: no reference has a word, so there are no document frequencies.
    """
    if not any(reference.split() for of_image in references for reference in of_image):
        raise ValueError(f"none of the references of {len(references)} images has a word: CIDEr is not defined")
    return _measured(*Cider().compute_score(*_as_pycocoevalcap(references, captions)))


def _as_pycocoevalcap(
    references: Sequence[Sequence[str]], captions: Sequence[str]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    truth = {image: list(of_image) for image, of_image in enumerate(references)}
    said = {image: [caption] for image, caption in enumerate(captions)}
    return truth, said


def _measured(overall: float, per_image: Sequence[float]) -> Measured:
    return Measured(float(overall), [float(figure) for figure in per_image])
