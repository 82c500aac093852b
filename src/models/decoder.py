"""The recurrent decoder: one step, used alike to learn, to search and to sample.

Everything is image-major: `image caption ...` is B images with K captions (or beams, or samples) each, so that what
depends on the image alone is computed once per image. A context vector only ever enters the gates through a matrix,
and that product is a weighted sum of per-region products: regions are therefore projected onto the gates once per
image, and a step costs one matrix product with the hidden state, one attention and one weighted sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from src.models.attention import BahdanauAttention


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


class Memory(NamedTuple):
    """What a decoder knows of its images, computed once per image."""

    regions: Float[Tensor, "image region hidden"]
    keys: Float[Tensor, "image region attention"]
    gates: Float[Tensor, "image region gate"]


class State(NamedTuple):
    """What a decoder remembers of a caption. A GRU has no cell; its `cell` is empty (size 0)."""

    hidden: Float[Tensor, "image caption hidden"]
    cell: Float[Tensor, "image caption cell"]

    def first(self, captions: int) -> State:
        return State(self.hidden[:, :captions], self.cell[:, :captions])

    def take(self, beams: Int[Tensor, "image beam"]) -> State:
        """Continue from other captions of the same image: beam j goes on from caption `beams[:, j]`."""

        def pick(values: Tensor) -> Tensor:
            return values.gather(1, beams.unsqueeze(-1).expand(-1, -1, values.shape[-1]))

        return State(pick(self.hidden), pick(self.cell))


class Taught(NamedTuple):
    """A teacher-forced pass over packed captions (see `src.training.batches`): one entry per position."""

    logits: Float[Tensor, "image position vocab"]
    attention: Float[Tensor, "image position region"]


class Decoder(nn.Module):
    """LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho et al. 2014) with Bahdanau attention over regions.

    Regions carry a learnt position, the context is gated by a scalar (Xu et al. 2015, section 4.2.1), and words come
    out of hidden state, context and last word together (deep output, Pascanu et al. 2014).
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        hidden, embedding = config.hidden_size, config.embedding_size
        self.gate_size = hidden * {"lstm": 4, "gru": 3}[config.rnn]
        self.cell_size = {"lstm": hidden, "gru": 0}[config.rnn]

        self.norm = nn.LayerNorm(config.feature_size)
        self.region = nn.Linear(config.feature_size, hidden)
        self.row = nn.Parameter(torch.randn(config.rows, 1, hidden) * 0.02)
        self.column = nn.Parameter(torch.randn(1, config.columns, hidden) * 0.02)
        self.attention = BahdanauAttention(hidden, config.attention_size)
        self.start = nn.Linear(hidden, hidden + self.cell_size)

        self.embedding = nn.Embedding(config.vocab_size, embedding)
        self.word_gates = nn.Linear(embedding, self.gate_size)
        self.region_gates = nn.Linear(hidden, self.gate_size, bias=False)
        # One product per step: the gates, the attention query and the context's own gate.
        self.recurrent = nn.Linear(hidden, self.gate_size + config.attention_size + 1)

        self.output = nn.Linear(hidden + hidden + embedding, hidden)
        self.vocab = nn.Linear(hidden, config.vocab_size)
        self.dropout = nn.Dropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.vocab.bias)
        hidden = self.config.hidden_size
        with torch.no_grad():
            for gate in range(self.gate_size // hidden):
                nn.init.orthogonal_(self.recurrent.weight[gate * hidden : (gate + 1) * hidden])
            nn.init.zeros_(self.recurrent.bias)
            nn.init.zeros_(self.word_gates.bias)
            if self.config.rnn == "lstm":
                # A forget gate that starts open lets gradients through from the first step (Jozefowicz et al. 2015).
                self.word_gates.bias[hidden : 2 * hidden] = 1.0

    def begin(self, grids: Float[Tensor, "image region feature"], captions: int = 1) -> tuple[Memory, State]:
        """Look at the images: their memory, and the state of `captions` captions each before the first word."""
        position = (self.row + self.column).flatten(0, 1)
        regions = self.dropout(functional.relu(self.region(self.norm(grids.to(self.row.dtype)))) + position)
        memory = Memory(regions, self.attention.keys(regions), self.region_gates(regions))
        start = self.start(regions.mean(dim=1)).tanh().unsqueeze(1).expand(-1, captions, -1)
        hidden, cell = start.split([self.config.hidden_size, self.cell_size], dim=-1)
        return memory, State(hidden, cell)

    def step(
        self, word_gates: Float[Tensor, "image caption gate"], memory: Memory, state: State
    ) -> tuple[State, Float[Tensor, "image caption region"], Float[Tensor, "image caption 1"]]:
        """One word on: the new state, where the word looked, and how far its context gate is open."""
        recurrent, query, openness = self.recurrent(state.hidden).split(
            [self.gate_size, self.config.attention_size, 1], dim=-1
        )
        weights = self.attention(memory.keys, query)
        openness = openness.sigmoid()
        seen = torch.bmm((weights * openness).to(memory.gates.dtype), memory.gates)
        return self._cell(word_gates + seen, recurrent, state), weights, openness

    def _cell(self, inputs: Tensor, recurrent: Tensor, state: State) -> State:
        if self.config.rnn == "lstm":
            enter, forget, candidate, leave = (inputs + recurrent).chunk(4, dim=-1)
            cell = forget.sigmoid() * state.cell + enter.sigmoid() * candidate.tanh()
            return State(leave.sigmoid() * cell.tanh(), cell)
        input_gates, input_candidate = inputs.split([2 * self.config.hidden_size, self.config.hidden_size], dim=-1)
        gates, candidate = recurrent.split([2 * self.config.hidden_size, self.config.hidden_size], dim=-1)
        reset, update = (input_gates + gates).sigmoid().chunk(2, dim=-1)
        fresh = (input_candidate + reset * candidate).tanh()
        return State(fresh + update * (state.hidden - fresh), state.cell)

    def words(
        self,
        hidden: Float[Tensor, "image position hidden"],
        context: Float[Tensor, "image position hidden"],
        embedded: Float[Tensor, "image position embedding"],
    ) -> Float[Tensor, "image position vocab"]:
        """Logits of the next word."""
        logits: Tensor = self.vocab(self.dropout(self.output(torch.cat([hidden, context, embedded], dim=-1)).tanh()))
        return logits

    def forward(
        self,
        grids: Float[Tensor, "image region feature"],
        inputs: Int[Tensor, "image position"],
        active: Sequence[int],
    ) -> Taught:
        """Teacher forcing over packed captions.

        Args:
            inputs: the word each position continues from: first the `active[0]` words of every caption's first step,
                then the `active[1]` of the second, ...; captions are sorted so that finished ones fall off the end.
            active: how many captions of each image take part in each step, never growing.
        """
        memory, state = self.begin(grids, active[0])
        embedded = self.dropout(self.embedding(inputs))
        word_gates = self.word_gates(embedded).split(list(active), dim=1)
        hidden: list[Tensor] = []
        weights: list[Tensor] = []
        contexts: list[Tensor] = []
        for step, captions in enumerate(active):
            state, attention, openness = self.step(word_gates[step], memory, state.first(captions))
            hidden.append(state.hidden)
            weights.append(attention)
            contexts.append(attention * openness)
        context = torch.bmm(torch.cat(contexts, dim=1).to(memory.regions.dtype), memory.regions)
        return Taught(self.words(torch.cat(hidden, dim=1), context, embedded), torch.cat(weights, dim=1))

    def next(
        self, words: Int[Tensor, "image caption"], memory: Memory, state: State
    ) -> tuple[Float[Tensor, "image caption vocab"], State, Float[Tensor, "image caption region"]]:
        """Continue captions by one given word each: log-probabilities of what comes next, state, where it looked."""
        embedded = self.embedding(words)
        state, weights, openness = self.step(self.word_gates(embedded), memory, state)
        context = torch.bmm((weights * openness).to(memory.regions.dtype), memory.regions)
        return self.words(state.hidden, context, embedded).float().log_softmax(dim=-1), state, weights
