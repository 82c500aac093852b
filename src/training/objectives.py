"""What training minimises."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from src.config import Decode
from src.data.vocabulary import END, PAD, START, Vocabulary
from src.decoding.describe import describe
from src.decoding.search import UNSAID, Speaker
from src.encoders.encoder import Encoder
from src.models.decoder import Decoder, Seen
from src.models.fusion import Fuse, as_written
from src.models.recurrence import State
from src.precision import autocast
from src.training.batches import Batch
from src.training.learner import Losses, Teaching

ROWS = 1024
"""Words whose logits exist at one time."""
IMPOSSIBLE = -1e4
"""As a logit: no probability in any precision, and finite, for no weight times infinity is not nothing."""


class TeacherForcing(Teaching[Batch]):
    """Cross-entropy of every word given the words before it.

    Computes in `precision`, whoever calls it.
    """

    def __init__(
        self,
        decoder: Decoder,
        label_smoothing: float = 0.0,
        coverage: bool = False,
        checkpointing: bool = False,
        encoder: Encoder | None = None,
        precision: str = "fp32",
        speech: tuple[Vocabulary, Decode] | None = None,
    ) -> None:
        """
        Args:
            encoder: turns the pixels of batches that hold pixels into grids; learns when its parameters do.
            coverage: work out the doubly stochastic term too.
            checkpointing: keep only the states between groups of steps and compute the rest again in the backward pass
                (Chen et al. 2016, with the square root of the number of steps as groups).
            speech: the words, and how `examine` searches for captions.
        """
        super().__init__()
        self.decoder, self.label_smoothing, self.coverage = decoder, label_smoothing, coverage
        self.checkpointing, self.encoder, self.precision = checkpointing, encoder, precision
        self.speech = speech

    def forward(self, batch: Batch, sampling: float = 0.0) -> Losses:
        """
        Args:
            sampling: share of input words that the decoder supplies itself (see `own_words`).
        """
        with autocast(batch.inputs.device, self.precision):
            return self._losses(batch, sampling)

    def weighted(self, batch: Batch, weights: Float[Tensor, " word"]) -> Float[Tensor, ""]:
        """Minus the log-probability of every word among those that may be said, times its weight, summed."""
        seen = self.decoder.look(self.grids(batch), batch.active[0])
        placed = weights.new_zeros(batch.targets.numel()).index_copy_(0, batch.said, weights).view(batch.targets.shape)
        return self._taught(seen, batch, batch.inputs, placed)[0]

    def examine(self, batch: Batch) -> tuple[float, Sequence[tuple[str, ...]]]:
        seen = batch.with_grids(self.grids(batch))
        return float(self(seen).nats), self.said(seen, self.decoder)

    def said(self, batch: Batch, speaker: Speaker) -> Sequence[tuple[str, ...]]:
        """What a model says of the batch's images, greedily."""
        assert self.speech is not None
        found = describe(speaker, self.speech[0], self.grids(batch), self.speech[1])
        return [hypotheses[0].words for hypotheses in found]

    def grids(self, batch: Batch) -> Float[Tensor, "image region feature"]:
        """The batch's grids, encoded now if it holds pixels."""
        assert batch.grids is not None
        if batch.grids.dtype != torch.uint8:
            return batch.grids
        assert self.encoder is not None
        grids: Tensor = self.encoder(batch.grids)
        return grids

    def _losses(self, batch: Batch, sampling: float) -> Losses:
        seen = self.decoder.look(self.grids(batch), batch.active[0])
        inputs = own_words(self.decoder, seen, batch, sampling) if sampling else batch.inputs
        total, attention = self._taught(seen, batch, inputs)
        coverage = attention_coverage(attention, batch) if self.coverage else total.new_zeros(())
        return Losses(total, coverage)

    def _taught(
        self,
        seen: Seen,
        batch: Batch,
        inputs: Int[Tensor, "image position"],
        weights: Float[Tensor, "image position"] | None = None,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "image position region"]]:
        """The loss summed over all words, each weighed where weights are given, and where every position looked."""
        nats, attention, state = [], [], seen.start
        for part in _parts(batch, inputs, weights, self.checkpointing and torch.is_grad_enabled()):
            if self.checkpointing:
                found = checkpoint(self._teach, seen, state, part, use_reentrant=False)
            else:
                found = self._teach(seen, state, part)
            nats.append(found[0])
            attention.append(found[1])
            state = found[2]
        return torch.stack(nats).sum(), torch.cat(attention, dim=1)

    def _teach(self, seen: Seen, state: State, part: Part) -> tuple[Tensor, Tensor, State]:
        taught = self.decoder.teach(seen, state, part.inputs, part.active, part.said)
        targets = part.targets.flatten().index_select(0, part.said)
        # Smoothing is of what people wrote: a word that was drawn is rewarded or it is not.
        smoothing = self.label_smoothing if self.training and part.weights is None else 0.0
        weights = (targets != PAD).float()
        if part.weights is not None:
            weights *= part.weights.flatten().index_select(0, part.said)
        unsaid = () if part.weights is None else UNSAID
        vocab, fuse = self.decoder.vocab, self.decoder.fuse
        nats = cross_entropy(taught.features, vocab, targets, smoothing, weights, unsaid, fuse)
        return nats, taught.attention, taught.state


class Part(NamedTuple):
    """Some consecutive steps of a batch."""

    inputs: Int[Tensor, "image position"]
    targets: Int[Tensor, "image position"]
    said: Int[Tensor, " word"]
    active: tuple[int, ...]
    weights: Float[Tensor, "image position"] | None


def _parts(
    batch: Batch,
    inputs: Int[Tensor, "image position"],
    weights: Float[Tensor, "image position"] | None,
    several: bool,
) -> list[Part]:
    if not several:
        return [Part(inputs, batch.targets, batch.said, batch.active, weights)]
    size = math.ceil(len(batch.active) ** 0.5)
    parts, start = [], 0
    for first in range(0, len(batch.active), size):
        active = batch.active[first : first + size]
        here = slice(start, start + sum(active))
        targets = batch.targets[:, here]
        said = (targets != PAD).flatten().nonzero().squeeze(1)
        parts.append(Part(inputs[:, here], targets, said, active, None if weights is None else weights[:, here]))
        start = here.stop
    return parts


@torch.no_grad()
def own_words(decoder: Decoder, seen: Seen, batch: Batch, share: float) -> Int[Tensor, "image position"]:
    """Scheduled sampling (Bengio et al. 2015) in parallel (Mihaylova and Martins 2019): the inputs, a `share` of them
    replaced by words drawn from what the decoder would have said there, given the true words before."""
    # Position of each word's predecessor: the same slot, one step earlier. First steps have none.
    starts = [0, *itertools.accumulate(batch.active)]
    before = [start + slot for start, count in zip(starts, batch.active[1:], strict=False) for slot in range(count)]
    former = torch.tensor([-1] * batch.active[0] + before, device=batch.inputs.device)
    chosen = (torch.rand(batch.inputs.shape, device=former.device) < share) & (former >= 0) & (batch.targets != PAD)
    image, position = chosen.nonzero(as_tuple=True)
    if not len(image):
        return batch.inputs
    said = image * batch.inputs.shape[1] + former[position]
    taught = decoder.teach(seen, seen.start, batch.inputs, batch.active, said)
    logits = decoder.vocab(taught.features).float()
    logits[:, [PAD, START, END]] = -torch.inf
    inputs = batch.inputs.clone()
    inputs[image, position] = torch.multinomial(logits.softmax(dim=-1), 1).squeeze(1)
    return inputs


def cross_entropy(
    features: Float[Tensor, "word hidden"],
    vocab: nn.Linear,
    targets: Int[Tensor, " word"],
    label_smoothing: float = 0.0,
    weights: Float[Tensor, " word"] | None = None,
    unsaid: Sequence[int] = (),
    fuse: Fuse[Any] = as_written,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats of `vocab(features)`, summed over words, with label smoothing (Szegedy et al. 2016,
    section 7).

    Args:
        weights: of the words; all 1 when not given.
        unsaid: ids without a share in the probabilities; as targets they have no weight.
        fuse: how what is between the matrix products is run.

    The gradient is worked out with the loss, some words at a time: logits and probabilities of the whole batch never
    exist in single precision.
    """
    bias: Tensor = vocab.bias
    if unsaid:
        bias = bias.clone()
        for word in unsaid:
            bias[word] = IMPOSSIBLE
    entered = features, vocab.weight, bias, targets, label_smoothing, weights, fuse
    loss: Tensor = _LinearCrossEntropy.apply(*entered)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
        weights: Tensor | None,
        fuse: Fuse[Any],
    ) -> Tensor:
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        wanted = any(ctx.needs_input_grad)
        with torch.autocast(device, enabled=False):
            rows, matrix, offset = features.detach().to(dtype), weight.detach().to(dtype), bias.detach().to(dtype)
            shares = rows.new_ones(len(rows), dtype=wide) if weights is None else weights.to(wide)
            errors = rows.new_empty(len(rows) if wanted else 0, len(matrix))
            total, offset_gradient = shares.new_zeros(()), shares.new_zeros(len(matrix))
            run = fuse(_nats_and_errors if wanted else _nats)
            for start in range(0, len(rows), ROWS):
                some = slice(start, start + ROWS)
                logits = torch.addmm(offset, rows[some], matrix.T)
                if not wanted:
                    total += run(logits, targets[some], shares[some], smoothing)
                    continue
                nats, errors[some], more = run(logits, targets[some], shares[some], smoothing)
                total += nats
                offset_gradient += more
        ctx.save_for_backward(rows, matrix, errors, offset_gradient)
        ctx.dtypes = features.dtype, weight.dtype, bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, matrix, errors, offset_gradient = ctx.saved_tensors
        found = (errors @ matrix, errors.T @ rows, offset_gradient)
        return (*((x * gradient).to(kind) for x, kind in zip(found, ctx.dtypes, strict=True)), None, None, None, None)


def _nats(
    logits: Float[Tensor, "word vocab"], targets: Int[Tensor, " word"], shares: Float[Tensor, " word"], smoothing: float
) -> Float[Tensor, ""]:
    """The loss of some words, each times its share, summed."""
    return _weighed(logits.to(shares.dtype), targets, shares, smoothing)[0]


def _nats_and_errors(
    logits: Float[Tensor, "word vocab"], targets: Int[Tensor, " word"], shares: Float[Tensor, " word"], smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "word vocab"], Float[Tensor, " vocab"]]:
    """`_nats`, its gradient by the logits in their precision, and that gradient summed over words."""
    nats, probabilities, mass = _weighed(logits.to(shares.dtype), targets, shares, smoothing)
    share = shares.unsqueeze(1)
    errors = probabilities * (share / mass)
    if smoothing:
        errors = errors - share * (smoothing / logits.shape[1])
    errors = errors.scatter_add(1, targets.unsqueeze(1), share * (smoothing - 1))
    return nats, errors.to(logits.dtype), errors.sum(dim=0)


def _weighed(
    logits: Float[Tensor, "word vocab"], targets: Int[Tensor, " word"], shares: Float[Tensor, " word"], smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "word vocab"], Float[Tensor, "word 1"]]:
    """The loss, the exponentials of the logits, and their sums."""
    logits = logits - logits.amax(dim=1, keepdim=True)
    expected = logits.gather(1, targets.unsqueeze(1))[:, 0] * (1 - smoothing)
    if smoothing:
        expected = expected + logits.mean(dim=1) * smoothing
    exponentials = logits.exp()
    mass = exponentials.sum(dim=1, keepdim=True)
    return (shares * (mass.log()[:, 0] - expected)).sum(), exponentials, mass


def attention_coverage(attention: Float[Tensor, "image position region"], batch: Batch) -> Float[Tensor, ""]:
    """The doubly stochastic term, summed over captions: over a caption each region should receive a total attention of
    1 (Xu et al. 2015, eq. 14)."""
    images, _, regions = attention.shape
    captions = batch.active[0]
    counts = (batch.targets != PAD).unsqueeze(-1).to(attention.dtype)
    received = attention.new_zeros(images, captions, regions).index_add(1, batch.slot, attention * counts)
    return ((1.0 - received).square() * counts[:, :captions]).sum()
