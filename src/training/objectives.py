"""What training minimises."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from src.models.decoder import Decoder
from src.training.batches import Batch

ROWS = 1024
"""Words whose logits exist at one time."""


class Losses(NamedTuple):
    """Sums over a batch, not means: processes and micro-batches of unequal size add up to the same gradient when each
    is divided by the count of the whole batch.

    Attributes:
        nats: cross-entropy summed over words.
        coverage: the doubly stochastic term summed over captions.
    """

    nats: Float[Tensor, ""]
    coverage: Float[Tensor, ""]


class TeacherForcing(nn.Module):
    """Cross-entropy of every word given the words before it.

    A module round the decoder, so that DistributedDataParallel sees every use of every parameter.
    """

    def __init__(self, decoder: Decoder, label_smoothing: float = 0.0, coverage: bool = False) -> None:
        super().__init__()
        self.decoder, self.label_smoothing, self.coverage = decoder, label_smoothing, coverage

    def forward(self, batch: Batch) -> Losses:
        assert batch.grids is not None
        taught = self.decoder(batch.grids, batch.inputs, batch.active, batch.said)
        targets = batch.targets.flatten()[batch.said]
        nats = cross_entropy(
            taught.features, self.decoder.vocab, targets, self.label_smoothing if self.training else 0.0
        )
        coverage = attention_coverage(taught.attention, batch) if self.coverage else nats.new_zeros(())
        return Losses(nats, coverage)


def cross_entropy(
    features: Float[Tensor, "word hidden"],
    vocab: nn.Linear,
    targets: Int[Tensor, " word"],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats of `vocab(features)`, summed over words, with label smoothing (Szegedy et al. 2016,
    section 7).

    The gradient is worked out with the loss, some words at a time: logits and probabilities of the whole batch never
    exist in single precision.
    """
    loss: Tensor = _LinearCrossEntropy.apply(features, vocab.weight, vocab.bias, targets, label_smoothing)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        wanted = any(ctx.needs_input_grad)
        with torch.autocast(device, enabled=False):
            rows, matrix, offset = features.to(dtype), weight.to(dtype), bias.to(dtype)
            words, vocab = rows.shape[0], matrix.shape[0]
            errors = rows.new_empty(words if wanted else 0, vocab)
            total = rows.new_zeros((), dtype=wide)
            for start in range(0, words, ROWS):
                logits = torch.addmm(offset, rows[start : start + ROWS], matrix.T).to(wide)
                target = targets[start : start + ROWS, None]
                logits -= logits.amax(dim=1, keepdim=True)
                expected = logits.gather(1, target)[:, 0] * (1 - smoothing)
                if smoothing:
                    expected = expected + logits.mean(dim=1) * smoothing
                probabilities = logits.exp_()
                mass = probabilities.sum(dim=1, keepdim=True)
                total += (mass.log()[:, 0] - expected).sum()
                if wanted:
                    probabilities /= mass
                    if smoothing:
                        probabilities -= smoothing / vocab
                    probabilities.scatter_add_(1, target, torch.full_like(mass, smoothing - 1))
                    errors[start : start + ROWS] = probabilities
        ctx.save_for_backward(rows, matrix, errors)
        ctx.dtypes = features.dtype, weight.dtype, bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, matrix, errors = ctx.saved_tensors
        found = (errors @ matrix, errors.T @ rows, errors.sum(dim=0, dtype=gradient.dtype))
        return (*((x * gradient).to(kind) for x, kind in zip(found, ctx.dtypes, strict=True)), None, None)


def attention_coverage(attention: Float[Tensor, "image position region"], batch: Batch) -> Float[Tensor, ""]:
    """The doubly stochastic term, summed over captions: over a caption each region should receive a total attention of
    1 (Xu et al. 2015, eq. 14)."""
    images, positions, regions = attention.shape
    captions = batch.active[0]
    counts = attention.new_zeros(images * positions, 1).index_fill_(0, batch.said, 1.0).view(images, positions, 1)
    received = attention.new_zeros(images, captions, regions).index_add(1, batch.slot, attention * counts)
    return ((1.0 - received).square() * counts[:, :captions]).sum()
