"""Pixels in, captions out, as one graph without Python: what is exported.

The same arithmetic as `src.models.cells.step` and `src.decoding.search.beam_search`, in a form that a graph of
fixed shapes can hold: nothing is changed in place, what grows word by word has room for all words from the start, and
the loop over words is an operator of the graph.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

# PyTorch has no public name for the operator yet.
from torch._higher_order_ops.while_loop import while_loop

from src.config import Decode
from src.data.vocabulary import END, PAD, START, UNK
from src.decoding.search import repeated
from src.encoders.encoder import Encoder
from src.models.attention import exponentials
from src.models.cells import GATES
from src.models.decoder import Decoder

INPUT = "pixels"
OUTPUTS = ("words", "log_probabilities", "scores")
NEVER = -1e30
"""Stands for minus infinity, which quantised graphs and subtractions do not survive."""


class Beams(NamedTuple):
    """What the loop carries from word to word. `word` in the shapes is the most words a caption may have.

    Attributes:
        length: words said so far, as int64 without dimensions.
        cell: of an LSTM; a GRU carries its hidden state a second time, unused.
        running: whether an image can still get a better caption.
    """

    length: Int[Tensor, ""]
    running: Any
    last: Int[Tensor, "image beam"]
    words: Int[Tensor, "image beam word"]
    score: Float[Tensor, "image beam"]
    hidden: Float[Tensor, "image beam hidden"]
    cell: Float[Tensor, "image beam hidden"]
    done_words: Int[Tensor, "image beam word"]
    done_log: Float[Tensor, "image beam"]
    done_score: Float[Tensor, "image beam"]


class Looker(nn.Module):
    """Pixels to what the search needs of its images: the CNN, and the decoder's look at its grid."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, pixels: UInt8[Tensor, "image row column 3"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Regions, exponentials of their keys, first hidden state and cell."""
        grids = self.encoder(pixels.permute(0, 3, 1, 2)).to(torch.float16)  # as the cache keeps them
        memory, state = self.decoder.begin(grids)
        hidden = state.hidden.squeeze(1)
        cell = state.cell.squeeze(1) if self.decoder.cell_size else hidden
        return memory.regions, memory.keys, hidden, cell


class Graph(nn.Module):
    """The captioner as one function of pixels.

    Args:
        settings: beam size, most words, length penalty and blocked n-grams become part of the graph.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, settings: Decode) -> None:
        super().__init__()
        encoder, decoder = copy.deepcopy(encoder).cpu(), copy.deepcopy(decoder).cpu().float().eval()
        encoder.precision = "fp32"
        self.looker = Looker(encoder, decoder)
        self.decoder = decoder
        self.settings = settings
        impossible = torch.zeros(decoder.config.vocab_size)
        impossible[[PAD, START, UNK]] = NEVER
        self.register_buffer("impossible", impossible, persistent=False)

    impossible: Tensor

    def forward(
        self, pixels: UInt8[Tensor, "image row column 3"]
    ) -> tuple[Int[Tensor, "image beam word"], Float[Tensor, "image beam"], Float[Tensor, "image beam"]]:
        """Words, log-probabilities and scores of the best captions of each picture, best first.

        Words are ids, `<pad>` (0) behind a caption's end. Where fewer captions exist than beams, a score is `NEVER`.
        """
        regions, keys, hidden, cell = self.looker(pixels)
        beams, most = self.settings.beam_size, self.settings.max_words
        images = pixels.shape[0]

        def full(value: float, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.full((images, beams, *shape), value, dtype=dtype)

        first = torch.zeros(beams)
        first[1:] = NEVER  # all beams are still the same empty caption
        start = Beams(
            length=torch.zeros((), dtype=torch.int64),
            running=torch.ones((), dtype=torch.bool),
            last=full(START, dtype=torch.int64),
            words=full(PAD, most, dtype=torch.int64),
            score=first.expand(images, -1).clone(),
            hidden=hidden.unsqueeze(1).expand(-1, beams, -1).clone(),
            cell=cell.unsqueeze(1).expand(-1, beams, -1).clone(),
            done_words=full(PAD, most, dtype=torch.int64),
            done_log=full(NEVER),
            done_score=full(NEVER),
        )

        def grow(*carried: Tensor) -> tuple[Tensor, ...]:
            return self._grow(Beams(*carried), regions, keys)

        end = Beams(*while_loop(_running, grow, tuple(start)))  # type: ignore[no-untyped-call]
        return end.done_words, end.done_log, end.done_score

    def _grow(self, now: Beams, regions: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
        """One word more for every beam."""
        beams, most, penalty = self.settings.beam_size, self.settings.max_words, self.settings.length_penalty
        scores, hidden, cell = self._next(now, regions, keys)
        length = now.length + 1
        place = torch.arange(most)
        if block := self.settings.block_ngrams:
            scores = torch.where(self._said_before(now, block, scores.shape[-1]), NEVER, scores)
        vocab = scores.shape[-1]
        total = (now.score.unsqueeze(-1) + scores).flatten(1)  # image beam*vocab
        best, index = total.topk(min(2 * beams, beams * vocab), dim=1)
        parent, word = index // vocab, index % vocab
        ends = word == END
        last = length == most

        # As in `beam_search`: ends count among the best `beams` alone; at the last word all is finished as it stands.
        first = torch.arange(best.shape[1]) < beams
        possible = best > NEVER / 2
        finished = torch.where(first & (ends | last) & possible, best, NEVER)
        rank = torch.where(finished > NEVER / 2, finished / length.to(torch.float32) ** penalty, NEVER)
        here = place == now.length
        grown = torch.where(here, word.unsqueeze(-1), _of(now.words, parent))
        closed = torch.where(here & ends.unsqueeze(-1), PAD, grown)
        done_score, choice = torch.cat([now.done_score, rank], dim=1).topk(beams, dim=1)
        done_log = torch.cat([now.done_log, finished], dim=1).gather(1, choice)
        done_words = _of(torch.cat([now.done_words, closed], dim=1), choice)

        score, keep = torch.where(ends, NEVER, best).topk(beams, dim=1)
        chosen = parent.gather(1, keep)
        # Log-probabilities only fall; divided by the greatest length still possible they cannot rank higher than this.
        hope = score.amax(dim=1) / float(most) ** penalty
        running = (hope > done_score.amin(dim=1)).any() & ~last
        following = Beams(
            length, running, word.gather(1, keep), _of(grown, keep), score, _of(hidden, chosen), _of(cell, chosen),
            done_words, done_log, done_score,
        )  # fmt: skip
        return tuple(following)

    def _next(self, now: Beams, regions: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of the next word, hidden state and cell: `Decoder.next` without changes in place."""
        decoder = self.decoder
        size = decoder.config.hidden_size
        width = GATES[decoder.config.rnn] * size
        embedded = decoder.embedding(now.last)
        product = decoder.recurrent(now.hidden)  # image beam gate+attention+1
        query = exponentials(product[..., width:-1])
        halves = 1.0 / (keys.unsqueeze(1) * query.unsqueeze(2) + 1.0)  # image beam region attention
        looked = (torch.matmul(halves, decoder.score) * -2.0).softmax(dim=-1)
        context = torch.matmul(looked * product[..., -1:].sigmoid(), regions)
        inputs = decoder.word_gates(embedded) + decoder.region_gates(context)
        recurrent = product[..., :width]
        if decoder.config.rnn == "lstm":
            enter, forget, candidate, leave = (inputs + recurrent).chunk(4, dim=-1)
            cell = forget.sigmoid() * now.cell + enter.sigmoid() * candidate.tanh()
            hidden = leave.sigmoid() * cell.tanh()
        else:
            reset, update = (inputs[..., : 2 * size] + recurrent[..., : 2 * size]).sigmoid().chunk(2, dim=-1)
            candidate = (inputs[..., 2 * size :] + reset * recurrent[..., 2 * size :]).tanh()
            hidden = candidate + update * (now.hidden - candidate)
            cell = hidden.clone()
        known = torch.cat([hidden, context, embedded], dim=-1)
        logits = decoder.vocab(decoder.output(known).tanh())
        return logits.log_softmax(dim=-1) + self.impossible, hidden, cell

    def _said_before(self, now: Beams, size: int, vocab: int) -> Tensor:
        """`repeated`, where words not said yet are <pad>: only an n-gram that ends in <pad> could match too many."""
        most = self.settings.max_words
        if size > most:
            return torch.zeros(*now.words.shape[:2], vocab, dtype=torch.bool)
        recent = (now.length - size + 1 + torch.arange(size - 1)).clamp(0, most - 1)
        said = torch.cat([now.words, now.words[..., recent]], dim=-1)
        return repeated(said, size, vocab) & (now.length >= size)


def _running(*carried: Tensor) -> Tensor:
    return carried[1].clone()


def _of(values: Tensor, chosen: Int[Tensor, "image choice"]) -> Tensor:
    """The chosen rows of each image: values[image, chosen[image]]."""
    if values.ndim == 3:
        return values.gather(1, chosen.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
    return values.gather(1, chosen)
