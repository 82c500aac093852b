"""Captions drawn at random from the decoder's own distribution."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from src.data.vocabulary import END, PAD, START
from src.decoding.search import LEAVING, forbid
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
    images, device = len(grids), grids.device
    ids = torch.full((images, samples, max_words), PAD, device=device)
    log_probabilities = torch.zeros(images, samples, max_words, device=device)
    left = torch.arange(images, device=device)
    word = torch.full((images, samples), START, device=device)
    running = torch.ones_like(word, dtype=torch.bool)
    longest = 0
    for position in range(max_words):
        scores, state, _ = decoder.next(word, memory, state)
        word, chosen = _drawn(forbid(scores) / temperature, generator)
        ids[left, :, position] = word.masked_fill(~running, PAD)
        log_probabilities[left, :, position] = chosen.masked_fill(~running, 0.0)
        running = running & (word != END)
        going, longest = running.any(dim=1), position + 1
        count = int(going.sum())
        if not count:
            break
        if len(left) - count >= LEAVING * len(left):
            memory, state = decoder.keep(memory, state, going)
            left, word, running = left[going], word[going], running[going]
    return Samples(ids[:, :, :longest], log_probabilities[:, :, :longest])


def _drawn(
    scores: Float[Tensor, "image sample vocab"], generator: torch.Generator | None
) -> tuple[Int[Tensor, "image sample"], Float[Tensor, "image sample"]]:
    """One word each, and its log-probability: the first word at which the sum of the probabilities exceeds a random
    share of them all. That takes one random number, where `torch.multinomial` takes one for every word there is."""
    scores = scores - scores.amax(dim=-1, keepdim=True)
    total = scores.exp().cumsum(dim=-1)
    threshold = torch.rand(*total.shape[:-1], 1, device=total.device, generator=generator) * total[..., -1:]
    # A share that was rounded up to all of it exceeds the last word too.
    drawn = torch.searchsorted(total, threshold, right=True).clamp_(max=total.shape[-1] - 1)
    chosen = scores.gather(-1, drawn) - total[..., -1:].log()
    return drawn.squeeze(-1), chosen.squeeze(-1)
