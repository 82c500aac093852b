"""What a metric says: one figure for the corpus, one for each image, and the sums that the corpus figure is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.errors import UserError

Figures = NDArray[np.float64]


class Unscorable(UserError, ValueError):
    """Captions and references that no metric can compare; the message names the images, or what is missing."""


class Sums(NamedTuple):
    """A corpus figure as a function of sums over images, so that it can be worked out for any sample of them."""

    parts: Figures
    """What each image adds, shape [image, part]."""
    figure: Callable[[Figures], Figures]
    """From sums of shape [..., part] to figures of shape [...]."""


class Measured(NamedTuple):
    """One metric of one list of images."""

    overall: float
    per_image: list[float]
    """Aligned with the images."""
    sums: Sums


def averaged(per_image: Sequence[float]) -> Measured:
    """A metric whose corpus figure is the mean of its images' figures."""
    figures = [float(figure) for figure in per_image]
    parts = np.column_stack([figures, np.ones(len(figures))])
    return Measured(float(np.mean(figures)), figures, Sums(parts, _mean))


def _mean(sums: Figures) -> Figures:
    return np.asarray(sums[..., 0] / sums[..., 1])


@dataclass(frozen=True)
class Scores:
    """All metrics of one model, as fractions (CIDEr as pycocoevalcap scales it: 1.0 is the "100" of papers).

    Attributes:
        overall: metric -> figure over the corpus. BLEU's and METEOR's are no means of their per-image figures.
        per_image: image -> metric -> figure.
        sums: metric -> what `overall` is made of, for `src.metrics.significance`; rows in the order of `per_image`.
        notes: metric -> how it was measured, where its name does not say it ({"model": ..., "layer": ...}), or why it
            is absent ({"absent": ...}).
    """

    overall: dict[str, float]
    per_image: dict[str, dict[str, float]]
    sums: Mapping[str, Sums] = field(default_factory=dict, compare=False, repr=False)
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
