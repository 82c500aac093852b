"""What people may be expected to say of an image, foretold from its features by a regression beside the decoder.

A decoder that learns word after word soon knows a few thousand training images by heart; of what they teach about
content, a regression with a closed solution keeps more. It cannot speak, but it tells the CIDEr that a caption may
expect, and so which of a beam's captions to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor
from torch.nn import functional

from src.metrics.cider import LONGEST_NGRAM, SCALE, InverseDocumentFrequency, Ngram, Rarity, weigh

LEAST_IMAGES = 5
"""Training images that an n-gram is said of: what is rarer cannot be foretold."""
RANK = 512
RIDGE = 0.1
POWERS = 2
"""Iterations of the randomised decomposition."""
OVERSAMPLED = 16
NO_WORD = -1
"""Fills up an n-gram that has fewer words than the longest."""

Ids = Sequence[int]


@dataclass(frozen=True)
class Expectation:
    """Kernel ridge regression (Saunders, Gammerman and Vovk 1998) of reduced rank (Izenman 1975), from an image's mean
    features to the mean tf-idf vector of its references, with which CIDEr compares a caption (Vedantam et al. 2015).

    The kernel is Gaussian on the angle between features, standardised as the training images' are: exp(cosine - 1).

    Attributes:
        mean: of the training images' features.
        deviation: of the same.
        known: what it learnt from, standardised and of length 1.
        solution: what each known image adds, by its likeness, to an image's place among all that people say.
        basis: how an n-gram's part in the references follows from that place.
        ngrams: that can be foretold, as ids of words.
        rarity: how much each tells, and at the end any other.
    """

    mean: Float[Tensor, " feature"]
    deviation: Float[Tensor, " feature"]
    known: Float16[Tensor, "image feature"]
    solution: Float[Tensor, "image rank"]
    basis: Float16[Tensor, "ngram rank"]
    ngrams: Int[Tensor, "ngram 4"]
    rarity: Float[Tensor, " ngram_or_other"]

    @classmethod
    def learn(
        cls, features: Float[Tensor, "image feature"], references: Sequence[Sequence[Ids]], seed: int
    ) -> Expectation:
        """From the training images' mean features and what people wrote of them."""
        idf = InverseDocumentFrequency(references)
        common = sorted(idf.common(LEAST_IMAGES).items())
        rarity = _Common(common, idf.unseen)
        mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
        known = _standard(features, mean, deviation).half()
        told = _vectors(references, {ngram: place for place, (ngram, _) in enumerate(common)}, rarity)
        solution, basis = _regress(known.float(), told, seed)
        return cls(
            mean=mean,
            deviation=deviation,
            known=known,
            solution=solution,
            basis=basis.half(),
            ngrams=torch.tensor(
                [[*ngram, *[NO_WORD] * (LONGEST_NGRAM - len(ngram))] for ngram, _ in common], dtype=torch.int32
            ).reshape(-1, LONGEST_NGRAM),
            rarity=torch.tensor([*(told for _, told in common), idf.unseen]),
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
        flat = [caption for own in captions for caption in own]
        weighed = [self._weighed(caption) for caption in flat]
        device = self.basis.device
        rows = torch.tensor([row for own in weighed for row in own], dtype=torch.long, device=device)
        weights = torch.tensor([weight for own in weighed for weight in own.values()], device=device)
        starts = torch.tensor([0, *accumulate(len(own) for own in weighed)], device=device)[:-1]
        places = functional.embedding_bag(rows, self.basis.float(), starts, mode="sum", per_sample_weights=weights)
        owner = torch.tensor(
            [image for image, own in enumerate(captions) for _ in own], dtype=torch.long, device=device
        )
        values = iter((SCALE * (places * self.place(grids)[owner]).sum(dim=-1)).tolist())
        return [[next(values) for _ in own] for own in captions]

    def place(self, grids: Float[Tensor, "image region feature"]) -> Float[Tensor, "image rank"]:
        """Where the images stand among all that people say."""
        seen = _standard(grids.float().mean(dim=1), self.mean, self.deviation)
        return _kernel(seen, self.known.float()) @ self.solution

    def _weighed(self, caption: Ids) -> dict[int, float]:
        """What each n-gram that can be foretold counts for in a caption, by its row in `basis`."""
        weights, norms = weigh(caption, self._common)
        return {
            self._rows[ngram]: weight / norms[len(ngram) - 1] / LONGEST_NGRAM
            for ngram, weight in weights.items()
            if ngram in self._rows and norms[len(ngram) - 1]
        }

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


def _standard(
    features: Float[Tensor, "image feature"], mean: Float[Tensor, " feature"], deviation: Float[Tensor, " feature"]
) -> Float[Tensor, "image feature"]:
    return functional.normalize((features - mean) / deviation.clamp(min=1e-3), dim=-1)


def _kernel(
    seen: Float[Tensor, "image feature"], known: Float[Tensor, "known feature"]
) -> Float[Tensor, "image known"]:
    return (seen @ known.T - 1).exp()


def _vectors(
    references: Sequence[Sequence[Ids]], rows: Mapping[Ngram, int], rarity: Rarity
) -> Float[Tensor, "image ngram"]:
    """Each image's mean reference, sparse: of each size of n-gram a vector of length 1 / `LONGEST_NGRAM`."""
    images, places, values = [], [], []
    for image, captions in enumerate(references):
        for caption in captions:
            weights, norms = weigh(caption, rarity)
            for ngram, weight in weights.items():
                if ngram in rows and norms[len(ngram) - 1]:
                    images.append(image)
                    places.append(rows[ngram])
                    values.append(weight / norms[len(ngram) - 1] / LONGEST_NGRAM / len(captions))
    shape = (len(references), len(rows))
    where = torch.tensor([images, places], dtype=torch.long)
    return torch.sparse_coo_tensor(where, torch.tensor(values), shape, check_invariants=True)


def _regress(
    known: Float[Tensor, "image feature"], told: Float[Tensor, "image ngram"], seed: int
) -> tuple[Float[Tensor, "image rank"], Float[Tensor, "ngram rank"]]:
    """Dual coefficients and basis of the regression, on the directions in which what it foretells for the known images
    varies most (randomised singular value decomposition, Halko, Martinsson and Tropp 2011)."""
    images, ngrams = told.shape
    rank = min(RANK, images, ngrams)
    if not rank:
        return torch.zeros(images, 0), torch.zeros(ngrams, 0)
    rows, columns = told.coalesce(), told.T.coalesce()
    kernel = _kernel(known, known)
    ridge = torch.linalg.cholesky(kernel + RIDGE * torch.eye(images))

    def solved(values: Tensor) -> Tensor:
        return torch.cholesky_solve(values, ridge)

    random = torch.Generator().manual_seed(seed)
    found = torch.randn(ngrams, min(rank + OVERSAMPLED, images, ngrams), generator=random)
    for _ in range(POWERS):
        seen = torch.linalg.qr(kernel @ solved(rows @ found)).Q
        found = torch.linalg.qr(columns @ solved(kernel @ seen)).Q
    seen = torch.linalg.qr(kernel @ solved(rows @ found)).Q
    basis = torch.linalg.svd(columns @ solved(kernel @ seen), full_matrices=False).U[:, :rank]
    return solved(rows @ basis), basis
