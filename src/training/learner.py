"""What the training loop asks of the model that it trains, and nothing else: the same loop trains every model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from src.config import Train
from src.training.batches import EncodedImages, P, Reader
from src.training.validation import Validation


class Losses(NamedTuple):
    """Sums over a batch, not means: processes and micro-batches of unequal size add up to the same gradient when each
    is divided by the count of the whole batch.

    Attributes:
        nats: cross-entropy summed over words.
        coverage: the doubly stochastic term summed over captions.
        reward: where captions are drawn and rewarded, the mean reward of an image's, summed over images.
    """

    nats: Float[Tensor, ""]
    coverage: Float[Tensor, ""]
    reward: float = 0.0


class Phase(NamedTuple):
    """Epochs in which a learner learns in one way.

    Attributes:
        kind: what the learner knows the way by.
        learning_rate: throughout; None for the schedule of warm-up and cosine.
        told: what the log says when it begins.
        member: which of several models that learn one after the other it is; each begins anew.
        rewarded: the model's own captions are rewarded: there is no loss that a number could tell, and no true word
            that could be replaced by one of the model's.
    """

    kind: str
    epochs: int
    learning_rate: float | None = None
    told: str = ""
    rewarded: bool = False
    member: int = 0


TEACHING, SELF_CRITICAL, WITH_ENCODER = "teaching", "self-critical", "with the encoder"


class Teaching(nn.Module, Generic[P]):
    """A model with its loss. Called with a batch, and the share of input words that the model supplies itself, it gives
    `Losses`, in the precision of its settings, whoever calls it."""

    def examine(self, batch: P) -> tuple[float, Sequence[tuple[str, ...]]]:
        """The batch's cross-entropy in nats, and what the model says of its images, greedily."""
        raise NotImplementedError


class Learner(ABC, Generic[P]):
    """A model to be trained: its batches, its loss, its parameters, its validation.

    Attributes:
        section: of params.yaml, which messages about a parameter name.
        images: the training split.
        read: gives what the model looks at; `reading` says in words where it comes from.
        kernels: says in words how what lies between matrix products is run.
        few_shapes: batches come in so few shapes that steps of the first phase may be replayed as CUDA graphs.
    """

    section: str
    images: EncodedImages[P]
    teaching: Teaching[P]
    validation: Validation[P]
    read: Reader
    reading: str
    kernels: str = "operations run one after the other"
    few_shapes: bool = False

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """The parameters for the optimiser: matrices, the others, and those that learn late, if there are any."""

    @abstractmethod
    def averaged(self) -> Iterable[nn.Parameter]:
        """The parameters of which a moving average is worth having."""

    @abstractmethod
    def weights(self) -> Mapping[str, Tensor]:
        """Everything that has learnt."""

    @abstractmethod
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take what `weights` gave; other tensors beside them are left alone."""

    def phases(self, train: Train) -> list[Phase]:
        """The ways in which it learns, one after the other; each begins with the best weights of those before, or with
        another member."""
        return [Phase(TEACHING, train.epochs)]

    def begin(self, phase: Phase) -> None:
        """Learn in this way from here on."""
