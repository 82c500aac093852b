"""Captions drawn at random from the decoder's own distribution."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from src.data.vocabulary import END, PAD, START
from src.decoding.search import LEAVING, Speaker, forbid


@torch.no_grad()
def sample(
    decoder: Speaker,
    grids: Float[Tensor, "image region feature"],
    samples: int,
    max_words: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "image sample word"]:
    """Draw `samples` captions per image, word by word; the end is one of the words, and `<pad>` follows it. Without
    gradients: those of drawn captions are had by teaching them (`TeacherForcing.weighted`)."""
    memory, state = decoder.begin(grids, samples)
    images, device = len(grids), grids.device
    ids = torch.full((images, samples, max_words), PAD, device=device)
    left = torch.arange(images, device=device)
    word = torch.full((images, samples), START, device=device)
    running = torch.ones_like(word, dtype=torch.bool)
    longest = 0
    for position in range(max_words):
        scores, state, _ = decoder.next(word, memory, state)
        word = _drawn(forbid(scores), generator)
        ids[left, :, position] = word.masked_fill(~running, PAD)
        running = running & (word != END)
        going, longest = running.any(dim=1), position + 1
        count = int(going.sum())
        if not count:
            break
        if len(left) - count >= LEAVING * len(left):
            memory, state = decoder.keep(memory, state, going)
            left, word, running = left[going], word[going], running[going]
    return ids[:, :, :longest]


def _drawn(
    scores: Float[Tensor, "image sample vocab"], generator: torch.Generator | None
) -> Int[Tensor, "image sample"]:
    """One word each: the first at which the sum of the probabilities exceeds a random share of them all. That takes one
    random number, where `torch.multinomial` takes one for every word there is."""
    total = (scores - scores.amax(dim=-1, keepdim=True)).exp().cumsum(dim=-1)
    threshold = torch.rand(*total.shape[:-1], 1, device=total.device, generator=generator) * total[..., -1:]
    # A share that was rounded up to all of it exceeds the last word too.
    return torch.searchsorted(total, threshold, right=True).clamp_(max=total.shape[-1] - 1).squeeze(-1)
