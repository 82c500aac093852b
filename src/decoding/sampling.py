"""Captions drawn at random from the decoder's own distribution."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from src.data.vocabulary import END, PAD, START
from src.decoding.search import forbid
from src.models.decoder import Decoder


class Samples(NamedTuple):
    """Drawn captions; after the end both tensors hold 0 (`<pad>`)."""

    ids: Int[Tensor, "image sample word"]
    log_probabilities: Float[Tensor, "image sample word"]


@torch.no_grad()
def sample(
    decoder: Decoder,
    grids: Float[Tensor, "image region feature"],
    samples: int,
    max_words: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Samples:
    """Draw `samples` captions per image, word by word; the end is one of the words. Without gradients: those of drawn
    captions are had by teaching them (`Decoder.forward`).

    Args:
        temperature: divides the logits: below 1 bolder choices, above 1 more varied ones.
    """
    memory, state = decoder.begin(grids, samples)
    word = torch.full((grids.shape[0], samples), START, device=grids.device)
    running = torch.ones_like(word, dtype=torch.bool)
    ids: list[Tensor] = []
    log_probabilities: list[Tensor] = []
    for _ in range(max_words):
        scores, state, _ = decoder.next(word, memory, state)
        scores = (forbid(scores) / temperature).log_softmax(dim=-1)
        drawn = torch.multinomial(scores.exp().flatten(0, 1), 1, generator=generator).view_as(word)
        chosen = scores.gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
        ids.append(drawn.masked_fill(~running, PAD))
        log_probabilities.append(chosen.masked_fill(~running, 0.0))
        running = running & (drawn != END)
        if not running.any():
            break
        word = drawn
    return Samples(torch.stack(ids, dim=2), torch.stack(log_probabilities, dim=2))
