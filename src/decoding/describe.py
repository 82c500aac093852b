"""Captions for grids, with the search that parameters ask for."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from src.config import Decode
from src.data.sentence import sentence
from src.data.vocabulary import Vocabulary
from src.decoding.consensus import consensus
from src.decoding.expected import as_expected
from src.decoding.search import Hypothesis, Speaker, beam_search, greedy
from src.models.expectation import Expectation


@dataclass(frozen=True)
class Caption:
    """A caption as a person reads it, with where each word looked.

    Attributes:
        words: lower-case, without punctuation.
        attention: one row per word over the regions of the grid.
        log_probability: of the words, natural logarithm.
    """

    words: tuple[str, ...]
    log_probability: float
    attention: Float[Tensor, "word region"]

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def sentence(self) -> str:
        return sentence(self.text)


def describe(
    decoder: Speaker,
    vocabulary: Vocabulary,
    grids: Float[Tensor, "image region feature"],
    settings: Decode,
    expectation: Expectation | None = None,
) -> list[list[Caption]]:
    """The best captions of each image, best first: `beam_size` of them, or the greedy one when that is 1.

    A beam is in the order of its scores, or in that which `settings.rerank` asks for.

    Raises:
        UserError: it asks for what may be expected, and the captioner has no expectation.
    """
    if settings.beam_size == 1 and not settings.block_ngrams:
        found = [[hypothesis] for hypothesis in greedy(decoder, grids, settings.max_words)]
    else:
        found = beam_search(
            decoder, grids, settings.beam_size, settings.max_words, settings.length_penalty, settings.block_ngrams
        )
        if settings.rerank == "consensus":
            found = [consensus(hypotheses, settings.weight) for hypotheses in found]
        elif settings.rerank == "expected":
            found = as_expected(found, grids, expectation, settings.weight)
    return [[_caption(hypothesis, vocabulary) for hypothesis in hypotheses] for hypotheses in found]


def _caption(hypothesis: Hypothesis, vocabulary: Vocabulary) -> Caption:
    return Caption(tuple(vocabulary.decode(hypothesis.ids)), hypothesis.log_probability, hypothesis.attention)
