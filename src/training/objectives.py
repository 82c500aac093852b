"""What training minimises."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from src.data.vocabulary import PAD
from src.models.decoder import Taught


def cross_entropy(
    taught: Taught, targets: Int[Tensor, "image position"], label_smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Cross-entropy summed over the words of the batch, in nats; padding counts nothing.

    A sum, not a mean: processes and micro-batches of unequal size add up to the same gradient when each is divided by
    the words of the whole batch.
    """
    return functional.cross_entropy(
        taught.logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=PAD,
        label_smoothing=label_smoothing,
        reduction="sum",
    )


def attention_coverage(
    taught: Taught, targets: Int[Tensor, "image position"], slot: Int[Tensor, " position"]
) -> Float[Tensor, ""]:
    """The doubly stochastic term, summed over captions: over a caption each region should receive a total attention of
    1 (Xu et al. 2015, eq. 14)."""
    said = (targets != PAD).unsqueeze(-1)
    images, _, regions = taught.attention.shape
    slots = int(slot.max()) + 1
    received = taught.attention.new_zeros(images, slots, regions).index_add(1, slot, taught.attention * said)
    exists = (targets[:, :slots] != PAD).unsqueeze(-1)
    return ((1.0 - received).square() * exists).sum()
