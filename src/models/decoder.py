"""The recurrent decoder: grids in, words out.

Everything is image-major: `image caption ...` is B images with K captions (or beams, or samples) each, so that what
depends on the image alone is computed once per image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from src.models import native
from src.models.cells import GATES, State, step
from src.models.fusion import Fuse, as_written
from src.models.memory import Gradients, Layer, Memory, Weights, layer, remember, through
from src.models.onepass import quickest
from src.models.recurrence import Trace, recur

WORDS, OUTPUT = "word_gates", "output"
"""Layers that all words of a batch go through."""


class DecoderConfig(BaseModel):
    """What a decoder is built from; saved with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rnn: Literal["lstm", "gru"]
    vocab_size: int
    feature_size: int
    rows: int
    columns: int
    hidden_size: int
    embedding_size: int
    attention_size: int
    dropout: float
    tied_embeddings: bool = False


class Seen(NamedTuple):
    """What teacher forcing needs of its images, computed once per image.

    Attributes:
        start: of every caption; the same for all of an image.
        words, output: the layers `word_gates` and `output`.
        gradients: of the memory and of the layers.
    """

    memory: Memory
    start: State
    words: Layer
    output: Layer
    gradients: Gradients


class Taught(NamedTuple):
    """A teacher-forced pass over packed captions (see `src.training.batches`), or some steps of one.

    Attributes:
        outputs: of the output layer, for the words asked for. `Decoder.features` makes features of them, and
            `Decoder.vocab` logits of those. Their size is the hidden size; the embedding's where embeddings are tied.
        attention: where every position looked.
        state: behind the last step, of the captions active in it.
    """

    outputs: Float[Tensor, "word output"]
    attention: Float[Tensor, "image position region"]
    state: State


class Decoder(nn.Module):
    """LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho et al. 2014) with Bahdanau attention over regions.

    Regions carry a learnt position, the context is gated by a scalar (Xu et al. 2015, section 4.2.1), and words come
    out of hidden state, context and last word together (deep output, Pascanu et al. 2014).

    Attributes:
        fuse: how teacher forcing runs what lies between its matrix products.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.fuse: Fuse[Any] = as_written
        hidden, embedding = config.hidden_size, config.embedding_size
        gates = hidden * GATES[config.rnn]
        self.cell_size = {"lstm": hidden, "gru": 0}[config.rnn]

        self.norm = nn.LayerNorm(config.feature_size)
        self.region = nn.Linear(config.feature_size, hidden)
        self.row = nn.Parameter(torch.randn(config.rows, 1, hidden) * 0.02)
        self.column = nn.Parameter(torch.randn(1, config.columns, hidden) * 0.02)
        self.key = nn.Linear(hidden, config.attention_size)
        self.score = nn.Parameter(torch.empty(config.attention_size).uniform_(-1, 1) * config.attention_size**-0.5)
        self.start = nn.Linear(hidden, hidden + self.cell_size)

        self.embedding = nn.Embedding(config.vocab_size, embedding)
        self.word_gates = nn.Linear(embedding, gates)
        self.region_gates = nn.Linear(hidden, gates, bias=False)
        # One product per step: the gates, the attention query and the context's own gate.
        self.recurrent = nn.Linear(hidden, gates + config.attention_size + 1)

        self.output = nn.Linear(hidden + hidden + embedding, embedding if config.tied_embeddings else hidden)
        self.vocab = TiedVocabulary(self.embedding) if config.tied_embeddings else nn.Linear(hidden, config.vocab_size)
        self.dropout = Dropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.vocab.bias)
        hidden = self.config.hidden_size
        with torch.no_grad():
            for gate in range(GATES[self.config.rnn]):
                nn.init.orthogonal_(self.recurrent.weight[gate * hidden : (gate + 1) * hidden])
            nn.init.zeros_(self.recurrent.bias)
            nn.init.zeros_(self.word_gates.bias)
            if self.config.rnn == "lstm":
                # A forget gate that starts open lets gradients through from the first step (Jozefowicz et al. 2015).
                self.word_gates.bias[hidden : 2 * hidden] = 1.0

    def begin(self, grids: Float[Tensor, "image region feature"], captions: int = 1) -> tuple[Memory, State]:
        """Look at the images: their memory, and the state of `captions` captions each before the first word."""
        return self._remember(self._regions(grids), captions, self._dtype(grids), None)

    def next(
        self, words: Int[Tensor, "image caption"], memory: Memory, state: State
    ) -> tuple[Float[Tensor, "image caption vocab"], State, Float[Tensor, "image caption region"]]:
        """Continue captions by one given word each: log-probabilities of what comes next, state, where it looked.

        Not differentiable; `forward` is.
        """
        embedded = self.embedding(words)
        outcome = quickest(step, memory)(self.config.rnn, self.word_gates(embedded), memory, state)
        told = torch.cat([outcome.state.hidden, outcome.context, embedded.to(outcome.context.dtype)], dim=-1)
        logits: Tensor = self.vocab(self.features(self.output(told)))
        return logits.float().log_softmax(dim=-1), outcome.state, outcome.attention

    def features(self, outputs: Float[Tensor, "*any output"]) -> Float[Tensor, "*any output"]:
        """What the vocabulary is told of the output layer's results."""
        told: Tensor = self.dropout(outputs.tanh())
        return told

    @staticmethod
    def pick(state: State, rows: Int[Tensor, "image 1"], captions: Int[Tensor, "image caption"]) -> State:
        """The state of captions that go on from others of their image."""
        return State(state.hidden[rows, captions], state.cell[rows, captions])

    @staticmethod
    def keep(memory: Memory, state: State, images: Bool[Tensor, " image"]) -> tuple[Memory, State]:
        """Memory and state of some of the images."""
        regions, keys = memory.regions[images], memory.keys[images]
        return Memory(regions, keys, memory.weights), State(*(values[images] for values in state))

    def forward(
        self,
        grids: Float[Tensor, "image region feature"],
        inputs: Int[Tensor, "image position"],
        active: Sequence[int],
        said: Int[Tensor, " word"],
    ) -> Taught:
        """Teacher forcing over packed captions.

        Args:
            inputs: the word each position continues from: first the `active[0]` words of every caption's first step,
                then the `active[1]` of the second, ...; captions are sorted so that finished ones fall off the end.
            active: how many captions of each image take part in each step, never growing.
            said: the positions whose words count, as indices into the flattened `image position`.
        """
        seen = self.look(grids, active[0])
        return self.teach(seen, seen.start, self.embed(inputs, seen), active, said)

    def look(self, grids: Float[Tensor, "image region feature"], captions: int, twice: bool = False) -> Seen:
        """Look at the images, for teaching `captions` captions each.

        Args:
            twice: keep nothing of how grids become regions, and compute it again in the backward pass.
        """
        gradients, dtype = Gradients(), self._dtype(grids)
        regions = checkpoint(self._regions, grids, use_reentrant=False) if twice else self._regions(grids)
        memory, start = self._remember(regions, captions, dtype, gradients)
        words, output = (layer(getattr(self, name), dtype, gradients, name) for name in (WORDS, OUTPUT))
        return Seen(memory, start, words, output, gradients)

    def embed(self, inputs: Int[Tensor, "image position"], seen: Seen) -> Float[Tensor, "image position embedding"]:
        """Words for teaching, rounded at once to what the matrix products take: whatever reads them would do it."""
        embedded: Tensor = self.dropout(self.embedding(inputs).to(seen.memory.regions.dtype))
        return embedded

    def teach(
        self,
        seen: Seen,
        state: State,
        embedded: Float[Tensor, "image position embedding"],
        active: Sequence[int],
        said: Int[Tensor, " word"],
        trace: Trace | None = None,
    ) -> Taught:
        """Steps of teacher forcing, from `state` on; arguments as in `forward`, for these steps alone.

        Args:
            embedded: the words that positions continue from.
            trace: of these same steps, if they are computed twice. The second time `Taught.outputs` are no numbers.
        """
        again = trace is not None and trace.known is not None
        recurred = recur(
            self.config.rnn,
            active,
            through(seen.words, embedded, seen.gradients, WORDS),
            seen.memory,
            State(state.hidden[:, : active[0]], state.cell[:, : active[0]]),
            seen.gradients,
            trace,
            self.fuse,
        )
        told = torch.cat([recurred.hidden, recurred.context, embedded], dim=-1)
        # Few positions hold no word, and behind the layer a position is narrower than before.
        outputs = through(seen.output, told, seen.gradients, OUTPUT, wanted=not again).flatten(0, 1)
        return Taught(outputs.index_select(0, said), recurred.attention, recurred.state)

    def _regions(self, grids: Float[Tensor, "image region feature"]) -> Float[Tensor, "image region hidden"]:
        """The regions with their positions."""
        position = (self.row + self.column).flatten(0, 1).to(self._dtype(grids))  # or sums would be twice as wide
        regions: Tensor = self.dropout(functional.relu(self.region(self._normalised(grids)))) + position
        return regions

    def _remember(
        self,
        regions: Float[Tensor, "image region hidden"],
        captions: int,
        dtype: torch.dtype,
        gradients: Gradients | None,
    ) -> tuple[Memory, State]:
        """The memory of regions, and the first state."""
        weights = Weights(self.recurrent.weight, self.recurrent.bias, self.score, self.region_gates.weight)
        memory = remember(regions, self.key(regions), weights, dtype, gradients)
        start = self.start(regions.mean(dim=1)).tanh().unsqueeze(1).expand(-1, captions, -1)
        hidden, content = start.split([self.config.hidden_size, self.cell_size], -1)
        return memory, State(hidden.to(dtype), content.to(memory.weights.v.dtype))

    def _normalised(self, grids: Float[Tensor, "image region feature"]) -> Float[Tensor, "image region feature"]:
        # Autocast would have it in single precision, although what follows is rounded anyway.
        dtype = self._dtype(grids)
        with torch.autocast(grids.device.type, enabled=False):
            weight, bias = self.norm.weight.to(dtype), self.norm.bias.to(dtype)
            return functional.layer_norm(grids.to(dtype), self.norm.normalized_shape, weight, bias, self.norm.eps)

    def _dtype(self, grids: Tensor) -> torch.dtype:
        """Of the matrix products inside the recurrence: autocast's where it is on."""
        device = grids.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.row.dtype


class TiedVocabulary(nn.Linear):
    """Logits of words by the matrix that embeds them (Press and Wolf 2017; Inan et al. 2017): what is learnt of a word
    that is read is learnt of it as a word to say, too."""

    def __init__(self, embedding: nn.Embedding) -> None:
        nn.Module.__init__(self)  # without a matrix of its own
        self.in_features, self.out_features = embedding.embedding_dim, embedding.num_embeddings
        self._embedding = (embedding,)  # not a module of this one: the weights are stored and learnt once
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    @property
    def weight(self) -> Float[Tensor, "vocab embedding"]:  # type: ignore[override]
        return self._embedding[0].weight


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) whose mask costs one random byte per number.

    PyTorch's own draws a floating-point number for each, one after the other on a CPU, which took a tenth of a training
    step. The rate is rounded to a 256th, and the rounded rate is the one that the rest is scaled by.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.threshold = min(255, round(rate * 256))

    def forward(self, values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        random = self.draw(values)
        if random is None:
            return values
        kept: Tensor = _Dropped.apply(self, values, random)
        return kept

    def draw(self, values: Float[Tensor, "*any"]) -> UInt8[Tensor, "*any"] | None:
        """A random byte for each number; nothing if all of them are kept."""
        if not self.training or not self.threshold:
            return None
        words = -(-values.numel() // 8)
        drawn = torch.empty(words, dtype=torch.int64, device=values.device).random_(-(2**63), None)
        return drawn.view(torch.uint8)[: values.numel()].view(values.shape)

    def drop(self, values: Float[Tensor, "*any"], random: UInt8[Tensor, "*any"] | None) -> Float[Tensor, "*any"]:
        """Numbers, or the gradients of what was kept of them, by the bytes drawn for them; not differentiable."""
        if random is None:
            return values
        scale = 256 / (256 - self.threshold)
        if native.takes(values.device) and values.dtype in native.NAMES:
            return native.dropped(values, random, self.threshold, scale)
        keep = random >= self.threshold
        if values.element_size() == 2:  # a product of one type takes a quarter of the time
            keep = keep.to(values.dtype)
        return (values * keep).mul_(scale)


class _Dropped(torch.autograd.Function):
    """Keeps the random bytes alone."""

    @staticmethod
    def forward(ctx: Any, dropout: Dropout, values: Tensor, random: Tensor) -> Tensor:
        ctx.dropout = dropout
        ctx.save_for_backward(random)
        return dropout.drop(values, random)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, ctx.dropout.drop(gradient, *ctx.saved_tensors), None
