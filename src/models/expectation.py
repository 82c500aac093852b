"""What people may be expected to say of an image, foretold from its features by a regression beside the decoder.

A decoder that learns word after word soon knows a few thousand training images by heart; of what they teach about
content, a regression with a closed solution keeps more. It cannot speak, but it tells the CIDEr that a caption may
expect, and so which of a beam's captions to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor
from torch.nn import functional

from src.metrics.cider import LONGEST_NGRAM, SCALE, InverseDocumentFrequency, Ngram, weigh

LEAST_IMAGES = 5
"""Training images that an n-gram is said of: what is rarer cannot be foretold."""
RIDGE = 0.1
NO_WORD = -1
"""Fills up an n-gram that has fewer words than the longest."""

Ids = Sequence[int]


@dataclass(frozen=True)
class Expectation:
    """Kernel ridge regression (Saunders, Gammerman and Vovk 1998) from an image's mean features to the mean tf-idf
    vector of its references, with which CIDEr compares a caption (Vedantam et al. 2015).

    The kernel is Gaussian on the angle between features, standardised as the training images' are: exp(cosine - 1). It
    is solved when it is first asked, which takes some seconds, and room for the images' number squared.

    Attributes:
        mean: of the training images' features.
        deviation: of the same.
        known: the training images' features, standardised and of length 1.
        ngrams: that can be foretold, as ids of words.
        rarity: how much each of them tells, and at the end any other.
        ngram, image, told: how much of the image's mean reference the n-gram is, where it is any of it.
    """

    mean: Float[Tensor, " feature"]
    deviation: Float[Tensor, " feature"]
    known: Float16[Tensor, "images feature"]
    ngrams: Int[Tensor, "ngrams 4"]
    rarity: Float[Tensor, " ngrams_and_other"]
    ngram: Int[Tensor, " pair"]
    image: Int[Tensor, " pair"]
    told: Float[Tensor, " pair"]

    @classmethod
    def learn(cls, features: Float[Tensor, "images feature"], references: Sequence[Sequence[Ids]]) -> Expectation:
        """From the training images' mean features and what people wrote of them."""
        idf = InverseDocumentFrequency(references)
        common = _Common(sorted(idf.common(LEAST_IMAGES).items()), idf.unseen)
        mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
        rows = {ngram: row for row, ngram in enumerate(common)}
        pairs: dict[tuple[int, int], float] = {}
        for image, captions in enumerate(references):
            for caption in captions:
                for ngram, share in common.shares(caption).items():
                    pair = (rows[ngram], image)
                    pairs[pair] = pairs.get(pair, 0.0) + share / len(captions)
        places = torch.tensor(list(pairs), dtype=torch.int32).reshape(-1, 2)
        filled = [[*ngram, *[NO_WORD] * (LONGEST_NGRAM - len(ngram))] for ngram in common]
        return cls(
            mean=mean,
            deviation=deviation,
            known=_standard(features, mean, deviation).half(),
            ngrams=torch.tensor(filled, dtype=torch.int32).reshape(-1, LONGEST_NGRAM),
            rarity=torch.tensor([*common.values(), common.other]),
            ngram=places[:, 0],
            image=places[:, 1],
            told=torch.tensor(list(pairs.values())),
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
        return Expectation.of({name: value.to(device) for name, value in self.state().items()})

    def cider(
        self, grids: Float[Tensor, "image region feature"], captions: Sequence[Sequence[Ids]]
    ) -> list[list[float]]:
        """The CIDEr that each caption of each image may expect; captions' lengths do not count, unlike CIDEr-D's."""
        reference = self._references(grids)
        found = []
        for image, own in enumerate(captions):
            expected = []
            for caption in own:
                shares = {self._rows[ngram]: share for ngram, share in self._common.shares(caption).items()}
                rows = torch.tensor(list(shares), dtype=torch.long)
                expected.append(SCALE * float(torch.tensor(list(shares.values())) @ reference[rows, image]))
            found.append(expected)
        return found

    def _references(self, grids: Float[Tensor, "image region feature"]) -> Float[Tensor, "ngrams image"]:
        """The mean tf-idf vector that the references of each image may be expected to have."""
        seen = _standard(grids.float().mean(dim=1), self.mean, self.deviation)
        likeness = torch.cholesky_solve(_kernel(self._known, seen), self._solver)
        reference: Tensor = torch.sparse.mm(self._told, likeness)
        return reference.cpu()

    @cached_property
    def _known(self) -> Float[Tensor, "images feature"]:
        return self.known.float()

    @cached_property
    def _solver(self) -> Float[Tensor, "images images"]:
        ridge = RIDGE * torch.eye(len(self._known), device=self._known.device)
        lower: Tensor = torch.linalg.cholesky(_kernel(self._known, self._known) + ridge)
        return lower

    @cached_property
    def _told(self) -> Float[Tensor, "ngrams images"]:
        places = torch.stack([self.ngram.long(), self.image.long()])
        shape = len(self.ngrams), len(self.known)
        told: Tensor = torch.sparse_coo_tensor(places, self.told, shape, check_invariants=True)
        return told

    @cached_property
    def _rows(self) -> dict[Ngram, int]:
        return {tuple(word for word in ngram if word != NO_WORD): row for row, ngram in enumerate(self.ngrams.tolist())}

    @cached_property
    def _common(self) -> _Common:
        *told, other = self.rarity.tolist()
        return _Common(zip(self._rows, told, strict=True), other)


class _Common(dict[Ngram, float]):
    """How much n-grams tell; any that is not among them tells as much as one that nobody has said."""

    def __init__(self, told: Iterable[tuple[Ngram, float]], other: float) -> None:
        super().__init__(told)
        self.other = other

    def __missing__(self, ngram: Ngram) -> float:
        return self.other

    def shares(self, caption: Ids) -> dict[Ngram, float]:
        """What each of them is of a caption: n-grams of each size make a vector of length 1 / `LONGEST_NGRAM`."""
        weights, norms = weigh(caption, self)
        return {
            ngram: weight / norms[len(ngram) - 1] / LONGEST_NGRAM
            for ngram, weight in weights.items()
            if weight and ngram in self
        }


def _standard(
    features: Float[Tensor, "image feature"], mean: Float[Tensor, " feature"], deviation: Float[Tensor, " feature"]
) -> Float[Tensor, "image feature"]:
    return functional.normalize((features - mean) / deviation.clamp(min=1e-3), dim=-1)


def _kernel(
    seen: Float[Tensor, "image feature"], known: Float[Tensor, "known feature"]
) -> Float[Tensor, "image known"]:
    return (seen @ known.T - 1).exp()
