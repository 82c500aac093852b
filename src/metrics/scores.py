"""What a metric says: one figure for the corpus, one for each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Measured(NamedTuple):
    """One metric of one list of images."""

    overall: float
    per_image: list[float]
    """Aligned with the images."""


@dataclass(frozen=True)
class Scores:
    """All metrics of one model, as fractions (CIDEr as pycocoevalcap scales it: 1.0 is the "100" of papers).

    Attributes:
        overall: metric -> figure over the corpus. BLEU's is no mean of its per-image figures.
        per_image: image -> metric -> figure.
    """

    overall: dict[str, float]
    per_image: dict[str, dict[str, float]]
