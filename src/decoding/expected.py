"""The hypothesis that has most in common with what people may be expected to say of the image."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from src.decoding.order import best_first
from src.decoding.search import Hypothesis
from src.errors import UserError
from src.models.expectation import Expectation


def as_expected(
    found: Sequence[Sequence[Hypothesis]],
    grids: Float[Tensor, "image region feature"],
    expectation: Expectation | None,
    weight: float,
) -> list[list[Hypothesis]]:
    """Each image's hypotheses, best first by their own score + weight x the CIDEr that they may expect.

    Raises:
        UserError: there is no expectation.
    """
    if expectation is None:
        raise UserError(
            "decode.rerank is 'expected', but the captioner has no expectation: it was trained by an earlier version, "
            "or its CNN has learnt; train again, or set decode.rerank=none"
        )
    cider = expectation.cider(grids, [[hypothesis.ids for hypothesis in own] for own in found])
    return [
        best_first(own, [hypothesis.score + weight * value for hypothesis, value in zip(own, values, strict=True)])
        for own, values in zip(found, cider, strict=True)
    ]
