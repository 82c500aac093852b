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
from src.models import native
from src.models.decoder import Decoder, Dropout, Seen
from src.models.fusion import Fuse, as_written
from src.models.recurrence import Trace
from src.precision import autocast
from src.training.batches import Batch
from src.training.learner import Losses, Teaching

ROWS = 640
"""Words whose logits exist at one time."""
PARTS = 2
"""Times the square root of the number of steps: the parts of a batch that are computed twice. What is kept between
them is nearly the same however many they are: of each part's end the cells, beside what is kept of all steps."""
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
            checkpointing: keep only what is known of the images, the attention, the hidden states and a few of the
                cells, and compute the rest again in the backward pass, some steps at a time (Chen et al. 2016).
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
        seen = self._look(batch)
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
        seen = self._look(batch)
        inputs = own_words(self.decoder, seen, batch, sampling) if sampling else batch.inputs
        total, attention = self._taught(seen, batch, inputs)
        coverage = attention_coverage(attention, batch) if self.coverage else total.new_zeros(())
        return Losses(total, coverage)

    @property
    def _parted(self) -> bool:
        return self.checkpointing and torch.is_grad_enabled()

    def _look(self, batch: Batch) -> Seen:
        return self.decoder.look(self.grids(batch), batch.active[0], twice=self._parted)

    def _taught(
        self,
        seen: Seen,
        batch: Batch,
        inputs: Int[Tensor, "image position"],
        weights: Float[Tensor, "image position"] | None = None,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "image position region"]]:
        """The loss summed over all words, each weighed where weights are given, and where every position looked."""
        parts = _parts(batch, weights, self._parted)
        # For all parts at once: each would leave a gradient of the whole vocabulary, to be added to the others'.
        words = self.decoder.embed(inputs, seen)
        taught, state = [], seen.start
        sizes = [sum(part.active) for part in parts]
        for part, embedded in zip(parts, torch.split(words, sizes, dim=1), strict=True):
            given = seen, state, embedded, part.active, part.said
            if part is parts[-1]:  # the backward pass begins with it: what it keeps would be computed again at once
                taught.append(self.decoder.teach(*given))
            else:  # where nothing is drawn at random
                again = checkpoint(self.decoder.teach, *given, Trace(), use_reentrant=False, preserve_rng_state=False)
                taught.append(again)
            state = taught[-1].state
        # Smoothing is of what people wrote: a word that was drawn is rewarded or it is not.
        smoothing = self.label_smoothing if self.training and weights is None else 0.0
        nats = cross_entropy(
            torch.cat([one.outputs for one in taught]),
            self.decoder.vocab,
            torch.cat([part.targets for part in parts]),
            smoothing,
            torch.cat([part.weights for part in parts]),
            () if weights is None else UNSAID,
            self.decoder.fuse,
            self.decoder.dropout,
        )
        return nats, torch.cat([one.attention for one in taught], dim=1)


class Part(NamedTuple):
    """Some consecutive steps of a batch.

    Attributes:
        active: captions per image in each of the steps.
        said: positions that hold a word, as indices into the flattened `image position` of these steps.
        targets: the words to say there.
        weights: of their losses; 0 where there is no word.
    """

    active: tuple[int, ...]
    said: Int[Tensor, " word"]
    targets: Int[Tensor, " word"]
    weights: Float[Tensor, " word"]


def _parts(
    batch: Batch,
    weights: Float[Tensor, "image position"] | None,
    several: bool,
) -> list[Part]:
    """All steps of a batch, or several parts of it with about as many positions each."""
    total = sum(batch.active)
    size = math.ceil(total / math.ceil(PARTS * math.sqrt(len(batch.active)))) if several else total
    parts: list[Part] = []
    start, steps = 0, []
    for step, count in enumerate(batch.active):
        steps.append(count)
        if sum(steps) < size and step + 1 < len(batch.active):
            continue
        here = slice(start, start + sum(steps))
        targets = batch.targets[:, here]
        said = (targets != PAD).flatten().nonzero().squeeze(1) if several else batch.said
        told = targets.flatten().index_select(0, said)
        shares = (told != PAD).float()
        if weights is not None:
            shares *= weights[:, here].flatten().index_select(0, said)
        parts.append(Part(tuple(steps), said, told, shares))
        start, steps = here.stop, []
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
    taught = decoder.teach(seen, seen.start, decoder.embed(batch.inputs, seen), batch.active, said)
    logits = decoder.vocab(decoder.features(taught.outputs)).float()
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
    dropout: Dropout | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats of `vocab(features)`, summed over words, with label smoothing (Szegedy et al. 2016,
    section 7).

    Args:
        weights: of the words; all 1 when not given.
        unsaid: ids without a share in the probabilities; as targets they have no weight.
        fuse: how what is between the matrix products is run.
        dropout: of a decoder, if `features` are its outputs, of which features are still to be made (see
            `Decoder.features`).

    The gradients are worked out with the loss, some words at a time: logits and probabilities of the whole batch never
    exist.
    """
    bias: Tensor = vocab.bias
    if unsaid:
        bias = bias.clone()
        for word in unsaid:
            bias[word] = IMPOSSIBLE
    entered = features, vocab.weight, bias, targets, label_smoothing, weights, fuse, dropout
    # Whether gradients are wanted at all cannot be seen from within.
    loss: Tensor = _LinearCrossEntropy.apply(*entered, torch.is_grad_enabled())
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
        dropout: Dropout | None,
        taught: bool,
    ) -> Tensor:
        device = features.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        with torch.autocast(device, enabled=False):
            rows, matrix, offset = features.detach().to(dtype), weight.detach().to(dtype), bias.detach().to(dtype)
            shares = rows.new_ones(len(rows), dtype=wide) if weights is None else weights.to(wide)
            total = shares.new_zeros(())
            by_rows = torch.empty_like(rows) if taught else None
            by_matrix = shares.new_zeros(matrix.shape) if taught and ctx.needs_input_grad[1] else None
            by_offset = shares.new_zeros(len(matrix))
            judge = _in_c if native.serves(shares, dtype) else fuse(_nats_and_errors)
            for start in range(0, len(rows), ROWS):
                some = slice(start, start + ROWS)
                seen = rows[some]
                if dropout is not None:
                    bent = seen.tanh()
                    random = dropout.draw(bent)
                    seen = dropout.drop(bent, random)
                logits = torch.addmm(offset, seen, matrix.T)
                if by_rows is None:
                    total += fuse(_nats)(logits, targets[some], shares[some], smoothing)
                    continue
                nats, errors = judge(logits, targets[some], shares[some], smoothing)
                total += nats
                by_offset += errors.sum(dim=0, dtype=wide)  # fused with the rest, a sum over rows takes twice as long
                halves = (torch.split(x, ROWS // 2) for x in (by_rows[some], errors))
                for half, part in zip(*halves, strict=True):
                    torch.mm(part, matrix, out=half)  # as one product it takes half as long again
                if by_matrix is not None:
                    by_matrix += errors.T @ seen
                if dropout is not None:
                    d_bent = dropout.drop(by_rows[some], random)
                    torch.ops.aten.tanh_backward.grad_input(d_bent, bent, grad_input=by_rows[some])
        if taught:
            ctx.save_for_backward(by_rows, by_matrix, by_offset)
        ctx.dtypes = features.dtype, weight.dtype, bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        found = (None if x is None else (x * gradient).to(kind) for x, kind in gradients)
        return (*found, *[None] * 6)


def _nats(
    logits: Float[Tensor, "word vocab"], targets: Int[Tensor, " word"], shares: Float[Tensor, " word"], smoothing: float
) -> Float[Tensor, ""]:
    """The loss of some words, each times its share, summed."""
    return _weighed(logits.to(shares.dtype), targets, shares, smoothing)[0]


def _nats_and_errors(
    logits: Float[Tensor, "word vocab"], targets: Int[Tensor, " word"], shares: Float[Tensor, " word"], smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "word vocab"]]:
    """`_nats`, and its gradient by the logits in their precision."""
    nats, probabilities, mass = _weighed(logits.to(shares.dtype), targets, shares, smoothing)
    share = shares.unsqueeze(1)
    errors = probabilities.mul_(share / mass)
    if smoothing:
        errors -= share * (smoothing / logits.shape[1])
    errors.scatter_add_(1, targets.unsqueeze(1), share * (smoothing - 1))
    return nats, errors.to(logits.dtype)


def _in_c(
    logits: Float[Tensor, "word vocab"], targets: Int[Tensor, " word"], shares: Float[Tensor, " word"], smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "word vocab"]]:
    """`_nats_and_errors`; the errors take the logits' place."""
    nats = torch.empty_like(shares)
    given, written = (x.unsqueeze(1) for x in (targets, shares)), (logits, nats.unsqueeze(1))
    native.call("errors", logits.dtype, list(given), written, *logits.shape, float(smoothing))
    return nats.sum(), logits


def _weighed(
    logits: Float[Tensor, "word vocab"], targets: Int[Tensor, " word"], shares: Float[Tensor, " word"], smoothing: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "word vocab"], Float[Tensor, "word 1"]]:
    """The loss, the exponentials of the logits in their place, and their sums."""
    logits = logits.sub_(logits.amax(dim=1, keepdim=True))
    expected = logits.gather(1, targets.unsqueeze(1))[:, 0] * (1 - smoothing)
    if smoothing:
        expected = expected + logits.mean(dim=1) * smoothing
    exponentials = logits.exp_()
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
