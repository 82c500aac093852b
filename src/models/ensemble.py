"""Several decoders that write one caption together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from src.models.cells import State
from src.models.decoder import Decoder, DecoderConfig
from src.models.memory import Memory


class Ensemble(nn.Module):
    """Decoders of one shape that learnt from different beginnings. The next word is told by the mean of their
    probabilities, and looked for where they look on average; each remembers the caption in its own way.

    What a search asks of a `Decoder`, it may ask of this.
    """

    def __init__(self, members: Sequence[Decoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def config(self) -> DecoderConfig:
        """Of each member."""
        return self._decoders()[0].config

    def begin(
        self, grids: Float[Tensor, "image region feature"], captions: int = 1
    ) -> tuple[tuple[Memory, ...], tuple[State, ...]]:
        memories, states = zip(*(member.begin(grids, captions) for member in self._decoders()), strict=True)
        return memories, states

    def next(
        self, words: Int[Tensor, "image caption"], memory: Sequence[Memory], state: Sequence[State]
    ) -> tuple[Float[Tensor, "image caption vocab"], tuple[State, ...], Float[Tensor, "image caption region"]]:
        told = [
            member.next(words, own, before) for member, own, before in zip(self._decoders(), memory, state, strict=True)
        ]
        scores, states, attention = zip(*told, strict=True)
        mean = torch.stack(scores).logsumexp(dim=0) - math.log(len(told))
        return mean, states, torch.stack(attention).mean(dim=0)

    @staticmethod
    def pick(
        state: Sequence[State], rows: Int[Tensor, "image 1"], captions: Int[Tensor, "image caption"]
    ) -> tuple[State, ...]:
        return tuple(Decoder.pick(own, rows, captions) for own in state)

    @staticmethod
    def keep(
        memory: Sequence[Memory], state: Sequence[State], images: Bool[Tensor, " image"]
    ) -> tuple[tuple[Memory, ...], tuple[State, ...]]:
        kept = (Decoder.keep(own, before, images) for own, before in zip(memory, state, strict=True))
        memories, states = zip(*kept, strict=True)
        return memories, states

    def _decoders(self) -> list[Decoder]:
        return list(self.members)  # type: ignore[arg-type]


def together(decoders: Sequence[Decoder]) -> Decoder | Ensemble:
    """One decoder as it is, several as an ensemble."""
    return decoders[0] if len(decoders) == 1 else Ensemble(decoders)
