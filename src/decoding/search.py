"""Greedy and beam search, batched over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from src.data.vocabulary import END, PAD, START, UNK

UNSAID = (PAD, START, UNK)
"""What no caption says."""
LEAVING = 1 / 8
"""Images whose captions are found leave a search when they are such a share of those in it: what is known of the others
is copied then."""


@dataclass(frozen=True)
class Hypothesis:
    """One caption of one image.

    Attributes:
        ids: word ids without start and end.
        log_probability: natural logarithm of the probability of the words and, where the search did not cut it off, of
            the end.
        score: what the search ranks by: the log-probability, divided by length to the power of the length penalty.
        attention: row i says where word i looked; each row sums to 1.
    """

    ids: tuple[int, ...]
    log_probability: float
    score: float
    attention: Float[Tensor, "word region"]


class Speaker(Protocol):
    """What a search asks of a `Decoder`, or of several as one; memory and state are the speaker's own business."""

    def begin(self, grids: Float[Tensor, "image region feature"], captions: int = 1) -> tuple[Any, Any]:
        """What it keeps of the images, and the state of `captions` captions each before the first word."""

    def next(
        self, words: Int[Tensor, "image caption"], memory: Any, state: Any
    ) -> tuple[Float[Tensor, "image caption vocab"], Any, Float[Tensor, "image caption region"]]:
        """Log-probabilities of what comes after these words, state, where it looked."""

    def pick(self, state: Any, rows: Int[Tensor, "image 1"], captions: Int[Tensor, "image caption"]) -> Any:
        """The state of captions that go on from others of their image."""

    def keep(self, memory: Any, state: Any, images: Bool[Tensor, " image"]) -> tuple[Any, Any]:
        """Memory and state of some of the images."""


@torch.no_grad()
def greedy(decoder: Speaker, grids: Float[Tensor, "image region feature"], max_words: int) -> list[Hypothesis]:
    """The most probable next word, again and again, until the end or `max_words` words."""
    memory, state = decoder.begin(grids)
    images, regions, device = len(grids), grids.shape[1], grids.device
    ids = torch.full((images, max_words), END, device=device)
    looked = torch.zeros(images, max_words, regions, device=device)
    total = torch.zeros(images, device=device)
    left = torch.arange(images, device=device)
    word = torch.full((images, 1), START, device=device)
    running = torch.ones(images, dtype=torch.bool, device=device)
    for position in range(max_words):
        scores, state, weights = decoder.next(word, memory, state)
        best, word = forbid(scores).max(dim=-1)
        total[left] += best[:, 0] * running
        running = running & (word[:, 0] != END)
        ids[left, position] = word[:, 0].masked_fill(~running, END)
        looked[left, position] = weights[:, 0].to(looked.dtype)
        going = int(running.sum())
        if not going:
            break
        if len(left) - going >= LEAVING * len(left):
            memory, state = decoder.keep(memory, state, running)
            left, word, running = left[running], word[running], running[running]
    found = []
    for own, log_probability, attention in zip(ids.tolist(), total.tolist(), looked.cpu(), strict=True):
        caption = tuple(own[: own.index(END)]) if END in own else tuple(own)
        found.append(Hypothesis(caption, log_probability, log_probability, attention[: len(caption)]))
    return found


@torch.no_grad()
def beam_search(
    decoder: Speaker,
    grids: Float[Tensor, "image region feature"],
    beam_size: int,
    max_words: int,
    length_penalty: float = 0.0,
    block_ngrams: int = 0,
) -> list[list[Hypothesis]]:
    """The `beam_size` best captions found for each image, best first.

    A hypothesis is finished when its end is among the `beam_size` best continuations of its image, or when it has
    `max_words` words; an image is done when none of its open hypotheses can still enter its finished ones. With one
    beam this is greedy search; with as many beams as there are prefixes it is exhaustive.

    Args:
        length_penalty: a hypothesis of n words (the end counts as one) ranks by log-probability / n ** length_penalty.
        block_ngrams: continuations that would repeat an n-gram of this size within the caption are impossible; 0: none
            are.
    """
    device, images, beams = grids.device, grids.shape[0], beam_size
    memory, state = decoder.begin(grids)
    left = torch.arange(images, device=device)
    never = -torch.inf
    # Of each caption its words, and the beam that each of them continued: where that one looked is written down once.
    said = torch.zeros(images, 1, 0, 2, dtype=torch.long, device=device)
    looked = torch.zeros(images, max_words, beams, grids.shape[1], device=device)
    word = torch.full((images, 1), START, device=device)
    open_score = torch.zeros(images, 1, device=device)  # the empty caption is one, however many go on from it
    done_said = torch.full((images, beams, max_words, 2), PAD, device=device)
    done_score = torch.full((images, beams), never, device=device)
    done_log = torch.full((images, beams), never, device=device)
    ranked = torch.arange(2 * beams, device=device) < beams
    found: list[list[Hypothesis]] = [[] for _ in range(images)]

    for length in range(1, max_words + 1):
        rows = torch.arange(len(left), device=device).unsqueeze(1)
        scores, state, weights = decoder.next(word, memory, state)
        looked[left, length - 1, : weights.shape[1]] = weights.to(looked.dtype)
        scores = forbid(scores)
        if block_ngrams and length > block_ngrams:
            scores = scores.masked_fill(repeated(said[..., 0], block_ngrams, scores.shape[-1]), never)
        total = scores.add_(open_score.unsqueeze(-1)).flatten(1)
        best, index = total.topk(min(2 * beams, total.shape[1]), dim=1)
        parent, word = index // scores.shape[-1], index % scores.shape[-1]
        ends = word == END
        last = length == max_words

        # Ends count only among the best `beams`; at the last word every other continuation is finished as it stands.
        finished = best.masked_fill(~(ranked[: best.shape[1]] & (ends | last)), never)
        rank = finished / length**length_penalty
        here = torch.stack([word.masked_fill(ends, PAD), parent], dim=-1).unsqueeze(2)
        grown = functional.pad(torch.cat([said[rows, parent], here], dim=2), (0, 0, 0, max_words - length), value=PAD)
        done_score, choice = torch.cat([done_score, rank], dim=1).topk(beams, dim=1)
        done_log = torch.cat([done_log, finished], dim=1).gather(1, choice)
        done_said = torch.cat([done_said, grown], dim=1)[rows, choice]

        open_score, kept = best.masked_fill(ends, never).topk(min(beams, best.shape[1]), dim=1)
        # Log-probabilities only fall; divided by the greatest length still possible they cannot rank higher than this.
        hope = open_score.amax(dim=1) / max_words**length_penalty
        over = (hope <= done_score.amin(dim=1)) | last
        count = int(over.sum())
        leaving = count >= LEAVING * len(left)
        if leaving:
            done = _collect(done_said[over], looked[left[over]], done_score[over], done_log[over])
            for image, hypotheses in zip(left[over].tolist(), done, strict=True):
                found[image] = hypotheses
            if count == len(left):
                break
        chosen, word = parent.gather(1, kept), word.gather(1, kept)
        said = grown[rows, kept, :length]
        state = decoder.pick(state, rows, chosen)
        if leaving:
            memory, state = decoder.keep(memory, state, ~over)
            left, word, said, open_score, done_said, done_score, done_log = (
                x[~over] for x in (left, word, said, open_score, done_said, done_score, done_log)
            )
    return found


def forbid(scores: Float[Tensor, "image caption vocab"]) -> Float[Tensor, "image caption vocab"]:
    """The scores, changed in their place: words that may not be said have none."""
    for word in UNSAID:  # by slices, which need no tensor of indices at every step
        scores[..., word] = -torch.inf
    return scores


def repeated(words: Int[Tensor, "image beam word"], size: int, vocab: int) -> Bool[Tensor, "image beam vocab"]:
    """Continuations that would say an n-gram of `size` words a second time."""
    grams = words.unfold(2, size, 1)  # image beam start size
    prefix = words[:, :, words.shape[2] - size + 1 :].unsqueeze(2)
    same = (grams[..., : size - 1] == prefix).all(dim=-1)
    banned = torch.zeros(*words.shape[:2], vocab, dtype=torch.bool, device=words.device)
    # Where nothing matches the flag is raised on <pad>, which is impossible anyway.
    return banned.scatter_(2, grams[..., -1].masked_fill(~same, PAD), True)


def _collect(
    said: Int[Tensor, "image beam word 2"],
    looked: Float[Tensor, "image word beam region"],
    scores: Float[Tensor, "image beam"],
    logs: Float[Tensor, "image beam"],
) -> list[list[Hypothesis]]:
    images, words = torch.arange(len(said), device=said.device), torch.arange(said.shape[2], device=said.device)
    attention = looked[images[:, None, None], words, said[..., 1]].cpu()  # image beam word region
    found: list[list[Hypothesis]] = []
    for own, *rest in zip(said[..., 0].tolist(), scores.tolist(), logs.tolist(), attention, strict=True):
        hypotheses = []
        for ids, score, log_probability, weights in zip(own, *rest, strict=True):
            if score == -torch.inf:
                continue  # fewer captions exist than beams
            caption = tuple(word for word in ids if word != PAD)
            hypotheses.append(Hypothesis(caption, log_probability, score, weights[: len(caption)]))
        found.append(hypotheses)
    return found
