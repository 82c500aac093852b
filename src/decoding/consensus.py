"""The hypothesis that has most in common with all of a beam (minimum Bayes risk, Kumar and Byrne 2004)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from src.decoding.order import best_first
from src.decoding.search import Hypothesis
from src.metrics.cider import Evenly, ImageReferences


def consensus(hypotheses: Sequence[Hypothesis], sharpness: float) -> list[Hypothesis]:
    """Best first by the CIDEr-D that each may expect if people say what the beam holds, each hypothesis as often as its
    probability says. All n-grams count alike, as no corpus is at hand where pictures are captioned.

    Args:
        sharpness: probabilities are proportional to exp(sharpness x score): 0 takes all for equally probable, and the
            greater it is the more of the beam's own order stays.
    """
    scores = np.array([hypothesis.score for hypothesis in hypotheses])
    weights = np.exp(sharpness * (scores - scores.max()))
    beam = ImageReferences([hypothesis.ids for hypothesis in hypotheses], Evenly())
    expected = [float(weights @ beam.similarities(hypothesis.ids)) for hypothesis in hypotheses]
    return best_first(hypotheses, expected)
