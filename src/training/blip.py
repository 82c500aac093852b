"""BLIP as the training loop sees it: pixels and all captions of an image, whole or through adapters (LoRA)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from src.config import Settings
from src.data.manifest import Manifest, Split
from src.data.tokens import words
from src.models import blip
from src.models.baseline import Baseline
from src.precision import autocast
from src.processes import Group
from src.training.batches import EncodedImages
from src.training.gradients import parameter_groups
from src.training.learner import Learner, Losses, Teaching
from src.training.objectives import cross_entropy
from src.training.pixels import PixelReader
from src.training.validation import Validation

ADAPTED = ["query", "value", "qkv"]
"""The layers that get adapters: queries and values (Hu et al. 2022, section 7.1), which the vision transformer has in
one."""
MEBIBYTE = 2**20


@dataclass(frozen=True)
class TokenBatch:
    """B images with all their captions; `grids` are the pictures."""

    rows: Int[np.ndarray, " image"]
    lesson: blip.Lesson
    grids: UInt8[Tensor, "image 3 row column"] | None = None

    def with_grids(self, grids: Tensor) -> TokenBatch:
        return replace(self, grids=grids)

    def to(self, device: torch.device) -> TokenBatch:
        grids = None if self.grids is None else self.grids.to(device, non_blocking=True)
        return TokenBatch(self.rows, self.lesson.to(device), grids)


class TokenisedImages(EncodedImages[TokenBatch]):
    """A split's captions as tokens, cut to `max_words`."""

    def __init__(self, manifest: Manifest, split: Split, script: blip.Script, max_words: int) -> None:
        self.script = script
        super().__init__(
            manifest.rows(split),
            [
                [script.encode(caption[:max_words]) for caption in image.words if caption]
                for image in manifest.split(split)
            ],
        )

    def pack(self, chosen: Int[np.ndarray, " image"]) -> TokenBatch:
        return TokenBatch(self.rows[chosen], self.script.lesson([self.captions[index] for index in chosen]))


class BlipTeaching(Teaching[TokenBatch]):
    """Cross-entropy of every word given the picture and the words before it.

    Args:
        augment: by how much pictures are scaled and moved in training.
    """

    def __init__(self, baseline: Baseline, label_smoothing: float, precision: str, augment: float) -> None:
        super().__init__()
        self.model, self.script, self.scaling = baseline.model, baseline.script, blip.Scaling(baseline.image_processor)
        self.label_smoothing, self.precision, self.augment = label_smoothing, precision, augment
        self.limits = baseline.limits

    def forward(self, batch: TokenBatch, sampling: float = 0.0) -> Losses:
        """Args: sampling: is for recurrent decoders; a transformer that is taught sees true words alone."""
        with autocast(batch.lesson.inputs.device, self.precision):
            return self._losses(batch, self._look(batch))

    @torch.no_grad()
    def examine(self, batch: TokenBatch) -> tuple[float, Sequence[tuple[str, ...]]]:
        with autocast(batch.lesson.inputs.device, self.precision):
            seen = self._look(batch)
            said = self.script.say(self.model, seen, **self.limits)
            return float(self._losses(batch, seen).nats), [words(caption) for caption in said]

    def _look(self, batch: TokenBatch) -> Float[Tensor, "image region feature"]:
        assert batch.grids is not None
        pixels = moved(batch.grids, self.augment) if self.training and self.augment else batch.grids
        return blip.look(self.model, self.scaling(pixels))

    def _losses(self, batch: TokenBatch, seen: Float[Tensor, "image region feature"]) -> Losses:
        features = blip.spoken(self.model, seen, batch.lesson)
        targets = batch.lesson.targets[batch.lesson.targets != blip.NOTHING]
        smoothing = self.label_smoothing if self.training else 0.0
        nats = cross_entropy(features, blip.vocab(self.model), targets, smoothing)
        return Losses(nats, nats.new_zeros(()))


def moved(pixels: UInt8[Tensor, "image 3 row column"], most: float) -> UInt8[Tensor, "image 3 row column"]:
    """Each picture scaled and moved at random by up to `most` of its size, its border continued outwards. Not mirrored
    and not recoloured: captions speak of left and right, and of colours."""
    images, device = len(pixels), pixels.device
    scales, offsets = 1 + most * (2 * torch.rand(2, 2, images, 1, device=device) - 1)

    def source(size: int, scale: Tensor, offset: Tensor) -> Int[Tensor, "image place"]:
        middle = (size - 1) / 2
        place = (middle + (torch.arange(size, device=device) - middle) * scale) + (offset - 1) * size
        return place.round().long().clamp(0, size - 1)

    row, column = map(source, pixels.shape[2:], scales, offsets)
    image = torch.arange(images, device=device).view(-1, 1, 1, 1)
    channel = torch.arange(3, device=device).view(1, -1, 1, 1)
    return pixels[image, channel, row[:, None, :, None], column[:, None, None, :]]


class BlipLearner(Learner[TokenBatch]):
    """A baseline that is BLIP, and the dataset it learns."""

    section = "baseline"

    def __init__(self, settings: Settings, manifest: Manifest, baseline: Baseline, group: Group) -> None:
        own, train, longest = settings.baseline, settings.baseline.training, settings.prepare.max_words
        self.baseline, self.train = baseline, train
        script = baseline.script
        self.images = TokenisedImages(manifest, "train", script, longest)
        self.validation = Validation(
            TokenisedImages(manifest, "val", script, longest), manifest, own.batch_images, group
        )
        baseline.model.float().to(group.device)
        self.adapters = _adapted(baseline.model, own.lora_rank) if own.lora_rank else None
        if train.gradient_checkpointing:
            baseline.model.activation_checkpointing_enable({"use_reentrant": False})
        self.teaching: BlipTeaching = BlipTeaching(baseline, train.label_smoothing, train.precision, own.augment)
        self.teaching.to(group.device)
        size = baseline.image_processor.size
        self.read = PixelReader(
            baseline.pixels,
            max(size.height, size.width),
            manifest,
            Path(settings.dataset.root),
            own.workers,
            remember=own.cache_mebibytes * MEBIBYTE,
        )
        self.reading = f"pictures are decoded, {own.cache_mebibytes} MiB of them kept"

    def groups(self) -> list[dict[str, Any]]:
        groups = parameter_groups(self.baseline.model, self.train.weight_decay)
        return [{**group, "params": [value for value in group["params"] if value.requires_grad]} for group in groups]

    def averaged(self) -> Iterable[nn.Parameter]:
        return self._learning().values()

    def weights(self) -> Mapping[str, Tensor]:
        return {f"blip.{name}": value.detach() for name, value in self._learning().items()}

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in self._learning().items():
            value.copy_(weights[f"blip.{name}"])

    def finish(self) -> Baseline:
        """The model as it is now, its adapters made part of its weights."""
        model = self.baseline.model
        if self.train.gradient_checkpointing:
            model.activation_checkpointing_disable()
        if self.adapters is not None:
            model = self.adapters.merge_and_unload()
        return replace(self.baseline, model=model.eval().requires_grad_(False))

    def _learning(self) -> dict[str, nn.Parameter]:
        return {name: value for name, value in self.baseline.model.named_parameters() if value.requires_grad}


def _adapted(model: Any, rank: int) -> Any:
    """Put adapters into the model; nothing but them learns."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED))
