"""What of a figure, and of a difference between two models, is more than the luck of which images were drawn.

Intervals are percentiles of the bootstrap over images (Efron 1979; Koehn 2004 for corpus BLEU): images are drawn with
replacement, and every corpus figure is worked out anew from the sums over the images drawn. CIDEr's document
frequencies stay those of all images. A pair of models is compared on the same draws, and its p-value comes from paired
approximate randomisation (Noreen 1989; Riezler and Maxwell 2005): how often does a difference as large appear when each
image's two captions change sides by the toss of a coin? Neither is corrected for the number of comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from src.metrics.scores import Figures, Sums

LEVEL = 0.95
_CELLS = 4_000_000
"""Numbers of a matrix [resample, image] that are held at once: 32 MB."""

Models = Mapping[str, Mapping[str, Sums]]
"""Model -> metric -> sums; the images are the same, in the same order."""


@dataclass(frozen=True)
class Pair:
    """Two models by one metric.

    Attributes:
        difference: the figure of `first` minus that of `second`.
        low: with `high`, the interval of the difference.
        p: probability of a difference at least as large if the two models were alike; two-sided, never 0.
    """

    first: str
    second: str
    metric: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """Models side by side.

    Attributes:
        intervals: model -> metric -> (low, high) that hold the figure with probability `level`.
    """

    images: int
    resamples: int
    level: float
    intervals: dict[str, dict[str, tuple[float, float]]]
    pairs: list[Pair]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(models: Models, resamples: int, seed: int = 0, level: float = LEVEL) -> Comparison:
    """The interval of every figure, and every pair of models by every metric that both have.

    The same models, resamples and seed give the same numbers.

    Raises:
        ValueError: there is no figure, or the models' images differ in number.
    """
    sizes = {len(sums.parts) for metrics in models.values() for sums in metrics.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"models to compare need figures of the same images, not of {sorted(sizes)}")
    images = sizes.pop()
    rivals = [
        (first, second, metric)
        for first, second in combinations(models, 2)
        for metric in models[first]
        if metric in models[second]
    ]
    drawn: dict[tuple[str, str], list[Figures]] = {(model, name): [] for model in models for name in models[model]}
    tossed: dict[tuple[str, str, str], list[Figures]] = {rival: [] for rival in rivals}
    random = np.random.default_rng(seed)
    for size in _blocks(resamples, images):
        counts = _draw(random, size, images)
        for (model, metric), figures in drawn.items():
            sums = models[model][metric]
            figures.append(sums.figure(counts @ sums.parts))
        swaps = random.integers(0, 2, (size, images)).astype(np.float64) if rivals else counts
        for (first, second, metric), differences in tossed.items():
            one, other = models[first][metric], models[second][metric]
            moved = swaps @ (other.parts - one.parts)
            differences.append(
                one.figure(one.parts.sum(axis=0) + moved) - other.figure(other.parts.sum(axis=0) - moved)
            )
    boot = {key: np.concatenate(figures) for key, figures in drawn.items()}
    pairs = [
        _pair(rival, models, boot[rival[0], rival[2]] - boot[rival[1], rival[2]], np.concatenate(chance), level)
        for rival, chance in tossed.items()
    ]
    intervals = {model: {name: _interval(boot[model, name], level) for name in models[model]} for model in models}
    return Comparison(images, resamples, level, intervals, pairs)


def _blocks(resamples: int, images: int) -> Iterator[int]:
    size = max(1, _CELLS // images)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _draw(random: np.random.Generator, resamples: int, images: int) -> Figures:
    """How often each image is drawn, shape [resample, image]; each row sums to the number of images."""
    chosen = random.integers(0, images, (resamples, images)) + np.arange(resamples)[:, None] * images
    counts = np.bincount(chosen.ravel(), minlength=resamples * images).reshape(resamples, images)
    return counts.astype(np.float64)


def _interval(figures: Figures, level: float) -> tuple[float, float]:
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _pair(rival: tuple[str, str, str], models: Models, drawn: Figures, chance: Figures, level: float) -> Pair:
    first, second, metric = rival
    one, other = (models[model][metric] for model in (first, second))
    difference = float(one.figure(one.parts.sum(axis=0)) - other.figure(other.parts.sum(axis=0)))
    # Sums in another order differ in their last digits: those are no smaller difference.
    as_large = np.abs(chance) >= abs(difference) - 1e-12
    p = (1 + int(as_large.sum())) / (1 + len(chance))
    return Pair(first, second, metric, difference, *_interval(drawn, level), p)
