"""Image-major batches of packed captions.

A batch is B images with all their captions. Each image's captions are sorted from long to short, so that at every step
the unfinished captions of all images are the first few slots: a step computes only those, and the words of all steps
lie behind one another without holes but for the rounding within the batch. Images with similar lengths share a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from src.ahead import ahead
from src.data.manifest import ImageRecord
from src.data.vocabulary import END, PAD, START, Vocabulary

POOL = 48
"""Batches' worth of shuffled images among which similar lengths are brought together: enough to pack well, few enough
to keep the order random."""
POSITIONS_AT_ONCE = 4
WORDS_AT_ONCE = 256
"""What the number of words in a batch is rounded up to."""
STEPS_AT_ONCE = 4
"""Where few shapes are wanted: what the steps of each slot are rounded up to. A sixth of the positions is then empty,
and an epoch of Flickr8k has about thirty shapes."""


class Packed(Protocol):
    """What every model's batches have: rows of the manifest, and what the model looks at, once it has been read."""

    @property
    def rows(self) -> Int[np.ndarray, " image"]: ...

    @property
    def grids(self) -> Tensor | None: ...

    def with_grids(self, grids: Tensor) -> Any: ...

    def to(self, device: torch.device) -> Any: ...


P = TypeVar("P", bound=Packed)


@dataclass(frozen=True)
class Batch:
    """B images with K captions each, packed by steps.

    Attributes:
        rows: the images' rows in the embedding cache.
        inputs: the word each position continues from; `<start>` at the first step.
        targets: the word to say there; `<pad>` where a slot's caption is over before the others of its slot.
        said: positions that hold a word, as indices into the flattened `image position`, and perhaps some that hold
            none.
        slot: which of its image's captions a position belongs to.
        active: captions per image in each step; `sum(active)` positions in all.
        captions: how many captions there are (an image may have fewer than the slots).
        grids: or the pictures themselves, while the encoder learns too.
    """

    rows: Int[np.ndarray, " image"]
    inputs: Int[Tensor, "image position"]
    targets: Int[Tensor, "image position"]
    said: Int[Tensor, " word"]
    slot: Int[Tensor, " position"]
    active: tuple[int, ...]
    captions: int
    grids: Float[Tensor, "image region feature"] | UInt8[Tensor, "image 3 row column"] | None = None

    def with_grids(self, grids: Tensor) -> Batch:
        return replace(self, grids=grids)

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.rows,
            self.inputs.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.said.to(device, non_blocking=True),
            self.slot.to(device, non_blocking=True),
            self.active,
            self.captions,
            None if self.grids is None else self.grids.to(device, non_blocking=True),
        )


class EncodedImages(Generic[P]):
    """A split's captions as ids, how many there are, and the order in which epochs visit their images."""

    def __init__(self, rows: Sequence[int], captions: Sequence[Sequence[list[int]]], steps_at_once: int = 1) -> None:
        """
        Args:
            rows: each image's row in the manifest.
            captions: each image's, without start and end.
            steps_at_once: what the steps of a slot will be rounded up to.
        """
        self.rows = np.asarray(rows)
        self.captions = [sorted(own, key=len, reverse=True) for own in captions]
        steps = np.zeros((len(captions), max((len(own) for own in self.captions), default=0)), int)
        for image, own in enumerate(self.captions):
            steps[image, : len(own)] = [len(ids) + 1 for ids in own]
        self._steps = -(-steps // steps_at_once) * steps_at_once

    def pack(self, chosen: Int[np.ndarray, " image"]) -> P:
        """The chosen images' captions as one batch, without what the model looks at."""
        raise NotImplementedError

    def part(self, batch: P, chosen: Int[np.ndarray, " image"], some: slice) -> P:
        """Some images of a batch that was read, packed as the batch of the `chosen` was."""
        assert batch.grids is not None
        found: P = self.pack(chosen[some]).to(batch.grids.device).with_grids(batch.grids[some])
        return found

    def __len__(self) -> int:
        return len(self.captions)

    def count(self, chosen: Int[np.ndarray, " image"]) -> tuple[int, int]:
        """Words to predict (every caption's end included) and captions of the chosen images."""
        captions = [caption for index in chosen for caption in self.captions[index]]
        return sum(map(len, captions)) + len(captions), len(captions)

    def order(self, epoch: int, batch_images: int, seed: int) -> list[Int[np.ndarray, " image"]]:
        """The batches of an epoch, as positions in this split: a function of its arguments alone, so that an
        interrupted epoch can be taken up anywhere and every process knows the whole of it.

        Every image comes once. The last batch may be smaller.
        """
        random = np.random.default_rng((seed, epoch))
        shuffled = random.permutation(len(self))
        batches: list[np.ndarray] = []
        for start in range(0, len(shuffled), POOL * batch_images):
            pool = shuffled[start : start + POOL * batch_images]
            batches += self._alike(pool, batch_images)
        return [batches[index] for index in random.permutation(len(batches))]

    def _alike(self, pool: Int[np.ndarray, " image"], batch_images: int) -> list[Int[np.ndarray, " image"]]:
        """Part the pool into batches of images whose captions have similar lengths, slot by slot: sorted by one slot,
        it is cut between two batches where both sides together have the fewest positions, and each side again. Equal
        lengths stay in the pool's order."""
        if len(pool) <= batch_images:
            return [pool]
        cuts = np.arange(batch_images, len(pool), batch_images)
        fewest, best, cut = math.inf, pool, batch_images
        for slot in range(self._steps.shape[1]):
            ordered = pool[self._steps[pool, slot].argsort(kind="stable")]
            steps = self._steps[ordered]
            before = np.maximum.accumulate(steps)[cuts - 1].sum(axis=1)
            behind = np.maximum.accumulate(steps[::-1])[::-1][cuts].sum(axis=1)
            positions = cuts * before + (len(pool) - cuts) * behind
            if positions.min() < fewest:
                fewest, best, cut = positions.min(), ordered, cuts[positions.argmin()]
        return self._alike(best[:cut], batch_images) + self._alike(best[cut:], batch_images)


class CaptionedImages(EncodedImages[Batch]):
    """The training split as word ids, cut to `max_words`, and the order in which epochs visit it."""

    def __init__(
        self,
        images: Sequence[ImageRecord],
        rows: Sequence[int],
        vocabulary: Vocabulary,
        max_words: int,
        few_shapes: bool = False,
    ) -> None:
        """
        Args:
            rows: each image's row in the embedding cache.
            few_shapes: pack them as `pack` does then.
        """
        self.few_shapes = few_shapes
        super().__init__(
            rows,
            [[vocabulary.encode(words[:max_words]) for words in image.words if words] for image in images],
            STEPS_AT_ONCE if few_shapes else 1,
        )

    def pack(self, chosen: Int[np.ndarray, " image"]) -> Batch:
        """The captions of the chosen images, packed by steps.

        Of no image at all it is a batch of one empty step, whose loss and gradient are zero: what a process is left
        with when the last batch of an epoch has fewer images than there are processes.
        """
        return pack([self.captions[index] for index in chosen], self.rows[chosen], self.few_shapes)


def pack(captions: Sequence[Sequence[list[int]]], rows: Int[np.ndarray, " image"], few_shapes: bool = False) -> Batch:
    """Captions as a batch packed by steps.

    Args:
        captions: each image's from long to short, without start and end.
        rows: the images' in the manifest.
        few_shapes: round each slot's steps up to a multiple of STEPS_AT_ONCE and let every position count as said:
            batches of as many images and the same `active` then have the same shape.
    """
    slots = max(map(len, captions), default=1)
    # Longest caption of each slot, its end included: how many steps the slot takes part in. It never grows from
    # slot to slot, because no image's captions do.
    steps = [max((len(own[slot]) + 1 for own in captions if slot < len(own)), default=1) for slot in range(slots)]
    if few_shapes:
        steps = [-(-count // STEPS_AT_ONCE) * STEPS_AT_ONCE for count in steps]
    elif captions:
        _round_up(steps)
    sentences = np.full((len(captions), slots, steps[0] + 1), PAD, dtype=np.int64)
    for image, own in enumerate(captions):
        for slot, ids in enumerate(own):
            sentences[image, slot, 0] = START
            sentences[image, slot, 1 : len(ids) + 1] = ids
            sentences[image, slot, len(ids) + 1] = END
    active = tuple(sum(step < count for count in steps) for step in range(steps[0]))
    inputs = [sentences[:, :count, step] for step, count in enumerate(active)]
    targets = [sentences[:, :count, step + 1] for step, count in enumerate(active)]
    words = np.concatenate(targets, axis=1)
    return Batch(
        rows=rows,
        inputs=torch.from_numpy(np.concatenate(inputs, axis=1)),
        targets=torch.from_numpy(words),
        said=torch.arange(words.size) if few_shapes else torch.from_numpy(_said(words)),
        slot=torch.from_numpy(np.concatenate([np.arange(count) for count in active])),
        active=active,
        captions=sum(map(len, captions)),
    )


def _round_up(steps: list[int]) -> None:
    """Let slots take part in a few more steps, until the positions of an image are a multiple of POSITIONS_AT_ONCE."""
    for _ in range(-sum(steps) % POSITIONS_AT_ONCE):
        last = next((slot for slot in reversed(range(1, len(steps))) if steps[slot] < steps[slot - 1]), 0)
        steps[last] += 1


def _said(words: Int[np.ndarray, "image position"]) -> Int[np.ndarray, " word"]:
    """Where words are, filled up with a place that holds none: a CPU prepares matrix products for each size anew, which
    takes longer than some products do, and keeps what it prepared."""
    said = np.flatnonzero(words != PAD)
    empty = np.flatnonzero(words == PAD)
    missing = -len(said) % WORDS_AT_ONCE
    return np.concatenate([said, np.full(missing, empty[0])]) if len(empty) else said


Reader = Callable[[Int[np.ndarray, " image"]], Tensor]
"""Gives what a decoder looks at, by row of the manifest: grids, or the pictures themselves."""


def read_ahead(
    images: EncodedImages[P], order: Sequence[Int[np.ndarray, " image"]], read: Reader, device: torch.device
) -> Iterator[P]:
    """The batches of `order` with their grids, one being read while the caller computes on the one before."""

    def load(chosen: Int[np.ndarray, " image"]) -> P:
        batch = images.pack(chosen)
        features = read(batch.rows)
        if device.type == "cuda" and not features.is_cuda:
            features = features.pin_memory()
        filled: P = batch.with_grids(features)
        return filled

    for (batch,) in ahead(([chosen] for chosen in order), load, 1, "batch", most=1):
        yield batch.to(device)
