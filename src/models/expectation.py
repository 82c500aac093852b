"""What people may be expected to say of an image, foretold from its features by a regression beside the decoder.

A decoder that learns word after word soon knows a few thousand training images by heart; of what they teach about
content, a regression with a closed solution keeps more. It cannot speak, but it tells the CIDEr-D that a caption may
expect, and so which of a beam's captions to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor
from torch.nn import functional

from src.metrics.cider import (
    LENGTH_DEVIATION,
    LONGEST_NGRAM,
    SCALE,
    InverseDocumentFrequency,
    Ngram,
    count_ngrams,
    length,
    weigh,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LEAST_IMAGES = 5
"""Training images that an n-gram is said of: what is rarer cannot be foretold."""
RIDGE = 0.1
NO_WORD = -1
"""Fills up an n-gram that has fewer words than the longest."""

Ids = Sequence[int]


@dataclass(frozen=True)
class Expectation:
    """Kernel ridge regression (Saunders, Gammerman and Vovk 1998) from an image's mean features to the CIDEr-D
    (Vedantam et al. 2015) of any caption: a weighted sum of what the caption has with the references of each training
    image.

    The kernel is Gaussian on the angle between features, standardised as the training images' are: exp(cosine - 1). It
    is solved when it is first asked, which takes some seconds, and room for the images' number squared.

    Attributes:
        mean: of the training images' features.
        deviation: of the same.
        known: the training images' features, standardised and of length 1.
        ngrams: that can be foretold, as ids of words.
        rarity: how much each of them tells, and at the end any other.
        image, size: whose each reference is, and its length as CIDEr-D counts.
        ngram, time, reference, told: what a reference holds: an n-gram for the first, the second, ... time (from 1 on),
            and how much of the reference the n-gram is altogether.
    """

    mean: Float[Tensor, " feature"]
    deviation: Float[Tensor, " feature"]
    known: Float16[Tensor, "images feature"]
    ngrams: Int[Tensor, "ngrams 4"]
    rarity: Float[Tensor, " ngrams_and_other"]
    image: Int[Tensor, " references"]
    size: Int[Tensor, " references"]
    ngram: Int[Tensor, " part"]
    time: Int[Tensor, " part"]
    reference: Int[Tensor, " part"]
    told: Float[Tensor, " part"]

    @classmethod
    def learn(cls, features: Float[Tensor, "images feature"], references: Sequence[Sequence[Ids]]) -> Expectation:
        """From the training images' mean features and what people wrote of them."""
        idf = InverseDocumentFrequency(references)
        common = _Common(sorted(idf.common(LEAST_IMAGES).items()), idf.unseen)
        mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
        row = {ngram: number for number, ngram in enumerate(common)}
        written = [(image, caption) for image, captions in enumerate(references) for caption in captions]
        parts, told = list[tuple[int, int, int]](), list[float]()
        for number, (_, caption) in enumerate(written):
            for ngram, count, share in common.shares(caption):
                parts += [(row[ngram], time, number) for time in range(1, count + 1)]
                told += [count * share] * count
        ngrams, times, holders = torch.tensor(parts, dtype=torch.int32).reshape(-1, 3).T.contiguous()
        filled = [[*ngram, *[NO_WORD] * (LONGEST_NGRAM - len(ngram))] for ngram in common]
        return cls(
            mean=mean,
            deviation=deviation,
            known=_standard(features, mean, deviation).half(),
            ngrams=torch.tensor(filled, dtype=torch.int32).reshape(-1, LONGEST_NGRAM),
            rarity=torch.tensor([*common.values(), common.other]),
            image=torch.tensor([image for image, _ in written], dtype=torch.int32),
            size=torch.tensor([length(caption) for _, caption in written], dtype=torch.int32),
            ngram=ngrams,
            time=times,
            reference=holders,
            told=torch.tensor(told),
        )

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Expectation:
        """From what `state` gave.

        Raises:
            KeyError: something is missing.
        """
        return cls(**{field.name: state[field.name] for field in fields(cls)})

    def state(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device) -> Expectation:
        """The same; what has to do with features is computed there."""
        features = {name: getattr(self, name).to(device) for name in ("mean", "deviation", "known")}
        return replace(self, **features)

    def cider(
        self, grids: Float[Tensor, "image region feature"], captions: Sequence[Sequence[Ids]]
    ) -> list[list[float]]:
        """The CIDEr-D that each caption of each image may expect."""
        seen = _standard(grids.float().mean(dim=1), self.mean, self.deviation)
        weights = torch.cholesky_solve(_kernel(self._known, seen), self._solver).T.cpu().numpy()
        return [self._expected(own, said) for own, said in zip(weights, captions, strict=True)]

    def _expected(self, weights: Float[np.ndarray, " images"], captions: Sequence[Ids]) -> list[float]:
        """CIDEr-D of captions with the references of all training images, weighed as the images are."""
        shares = [
            {self._rows[ngram, time]: share for ngram, count, share in self._common.shares(caption)
             for time in range(1, count + 1) if (ngram, time) in self._rows}
            for caption in captions
        ]  # fmt: skip
        rows = {row: place for place, row in enumerate(sorted({row for own in shares for row in own}))}
        lengths = {size: place for place, size in enumerate(sorted({length(caption) for caption in captions}))}
        apart = self.size.numpy()[:, None] - np.array(list(lengths))
        alike = np.exp(-(apart**2) / (2 * LENGTH_DEVIATION**2))  # reference x length
        counting = (weights / self._references)[self.image.numpy()]
        matches = self._told[np.array(list(rows), dtype=int)] @ (counting[:, None] * alike)
        return [
            SCALE / LONGEST_NGRAM
            * sum(share * float(matches[rows[row], lengths[length(caption)]]) for row, share in own.items())
            for caption, own in zip(captions, shares, strict=True)
        ]  # fmt: skip

    @cached_property
    def _known(self) -> Float[Tensor, "images feature"]:
        return self.known.float()

    @cached_property
    def _solver(self) -> Float[Tensor, "images images"]:
        ridge = RIDGE * torch.eye(len(self._known), device=self._known.device)
        lower: Tensor = torch.linalg.cholesky(_kernel(self._known, self._known) + ridge)
        return lower

    @cached_property
    def _references(self) -> Int[np.ndarray, " images"]:
        """How many each training image has."""
        return np.bincount(self.image.numpy(), minlength=len(self.known))

    @cached_property
    def _said(self) -> list[Ngram]:
        return [tuple(word for word in ngram if word != NO_WORD) for ngram in self.ngrams.tolist()]

    @cached_property
    def _parts(self) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " part"]]:
        """N-grams and times as one number, each once, and which of them every part is."""
        return np.unique(self.time.numpy() * np.int64(len(self._said)) + self.ngram.numpy(), return_inverse=True)

    @cached_property
    def _rows(self) -> dict[tuple[Ngram, int], int]:
        """The row of `_told` that an n-gram has when it is said for the first, the second, ... time."""
        numbers = (divmod(number, len(self._said)) for number in self._parts[0].tolist())
        return {(self._said[ngram], time): row for row, (time, ngram) in enumerate(numbers)}

    @cached_property
    def _told(self) -> csr_array:
        """By row and reference."""
        from scipy.sparse import csr_array  # late: most commands never ask

        places = self._parts[1].reshape(-1), self.reference.numpy()
        return csr_array((self.told.numpy(), places), (len(self._parts[0]), len(self.image)))

    @cached_property
    def _common(self) -> _Common:
        *told, other = self.rarity.tolist()
        return _Common(zip(self._said, told, strict=True), other)


class _Common(dict[Ngram, float]):
    """How much n-grams tell; any that is not among them tells as much as one that nobody has said."""

    def __init__(self, told: Iterable[tuple[Ngram, float]], other: float) -> None:
        super().__init__(told)
        self.other = other

    def __missing__(self, ngram: Ngram) -> float:
        return self.other

    def shares(self, caption: Ids) -> Iterator[tuple[Ngram, int, float]]:
        """How often the caption says each of them, and how much of the caption it is each time: n-grams of each size
        make a vector of length 1."""
        _, norms = weigh(caption, self)
        for ngram, count in count_ngrams(caption).items():
            if self.get(ngram):
                yield ngram, count, self[ngram] / norms[len(ngram) - 1]


def _standard(
    features: Float[Tensor, "image feature"], mean: Float[Tensor, " feature"], deviation: Float[Tensor, " feature"]
) -> Float[Tensor, "image feature"]:
    return functional.normalize((features - mean) / deviation.clamp(min=1e-3), dim=-1)


def _kernel(
    seen: Float[Tensor, "image feature"], known: Float[Tensor, "known feature"]
) -> Float[Tensor, "image known"]:
    return (seen @ known.T - 1).exp()
