"""Self-critical sequence training (Rennie et al. 2017): captions are drawn, and those that score better than the others
of their image become more likely.

The baseline of a caption is the mean reward of the image's other samples (Luo 2020, eq. 5), so that no greedy search is
needed. The reward is CIDEr-D on word ids, the end of the sentence being one of them: a caption that stops in the middle
of a phrase lacks the n-grams that end the references.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from src.data.vocabulary import END
from src.decoding.sampling import sample
from src.metrics.cider import ImageReferences, InverseDocumentFrequency
from src.precision import autocast
from src.training.batches import Batch, EncodedImages, pack
from src.training.learner import Losses, Teaching
from src.training.objectives import TeacherForcing

REMEMBERED = 20_000
"""Images whose references stay prepared."""


class CiderReward:
    """CIDEr-D of drawn captions against the references of the training split, whose document frequencies it uses.

    Args:
        images: the training split.
    """

    def __init__(self, images: EncodedImages[Batch]) -> None:
        self._captions = {
            int(row): [[*ids, END] for ids in own] for row, own in zip(images.rows, images.captions, strict=True)
        }
        idf = InverseDocumentFrequency(self._captions.values())
        self._references = lru_cache(REMEMBERED)(lambda row: ImageReferences(self._captions[row], idf))

    def __call__(
        self, rows: Int[np.ndarray, " image"], captions: Sequence[Sequence[Sequence[int]]]
    ) -> Float[Tensor, "image sample"]:
        """0 to 10.

        Args:
            rows: of the manifest.
            captions: for each image its samples, ids with the end where they have one.
        """
        scores = [
            [self._references(int(row)).score(ids) for ids in own] for row, own in zip(rows, captions, strict=True)
        ]
        return torch.tensor(scores, dtype=torch.float32)


class SelfCritical(Teaching[Batch]):
    """In the place of teacher forcing: the same decoder, rewarded for what it says itself.

    Captions are drawn without dropout and taught with it.
    """

    def __init__(self, teaching: TeacherForcing, reward: CiderReward, samples: int, max_words: int) -> None:
        super().__init__()
        self.teaching, self.reward, self.samples, self.max_words = teaching, reward, samples, max_words

    def examine(self, batch: Batch) -> tuple[float, Sequence[tuple[str, ...]]]:
        return self.teaching.examine(batch)

    def forward(self, batch: Batch, sampling: float = 0.0) -> Losses:
        """`nats` is the surrogate whose gradient is the policy's: minus the log-probability of every word drawn, times
        its caption's advantage."""
        with autocast(batch.inputs.device, self.teaching.precision):
            grids = self.teaching.grids(batch)
            captions, ended = self._draw(grids.detach())
            rewards = self.reward(batch.rows, captions)
            advantages = (rewards - rewards.mean(dim=1, keepdim=True)) * (self.samples / (self.samples - 1))
            drawn, weights = _packed(batch, captions, ended, advantages)
            nats = self.teaching.weighted(drawn.with_grids(grids), weights)
        return Losses(nats, nats.new_zeros(()), float(rewards.mean(dim=1).sum()))

    def _draw(self, grids: Float[Tensor, "image region feature"]) -> tuple[list[list[list[int]]], list[list[bool]]]:
        """Samples of each image as ids up to their end, and whether they came to one."""
        learning = self.teaching.decoder.training
        self.teaching.decoder.eval()
        try:
            found = sample(self.teaching.decoder, grids, self.samples, self.max_words).tolist()
        finally:  # after running out of memory the step is done again
            self.teaching.decoder.train(learning)
        ended = [[END in ids for ids in own] for own in found]
        return [[ids[: ids.index(END) + 1] if END in ids else ids for ids in own] for own in found], ended


def _packed(
    batch: Batch,
    captions: Sequence[Sequence[list[int]]],
    ended: Sequence[Sequence[bool]],
    advantages: Float[Tensor, "image sample"],
) -> tuple[Batch, Float[Tensor, " word"]]:
    """Drawn captions as a batch, and for each of its words the advantage; 0 for an end that was not drawn but cut."""
    order = [sorted(range(len(own)), key=lambda index: -len(own[index]) + ended[image][index])
             for image, own in enumerate(captions)]  # fmt: skip
    words = [[own[index][: len(own[index]) - ended[image][index]] for index in order[image]]
             for image, own in enumerate(captions)]  # fmt: skip
    drawn = pack(words, batch.rows)
    sorted_advantages = advantages.gather(1, torch.tensor(order))
    sorted_ended = torch.tensor([[ended[image][index] for index in own] for image, own in enumerate(order)])
    image = drawn.said // drawn.inputs.shape[1]
    slot = drawn.slot[drawn.said % drawn.inputs.shape[1]]
    cut = (drawn.targets.flatten()[drawn.said] == END) & ~sorted_ended[image, slot]
    weights = sorted_advantages[image, slot].masked_fill(cut, 0.0)
    device = batch.inputs.device
    return drawn.to(device), weights.to(device)
