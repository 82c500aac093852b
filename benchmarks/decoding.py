"""Images per second of greedy and beam search, in batches and one at a time; beside them the tutorials' search, which
knows images one at a time alone.

    python -m benchmarks.decoding
    python -m benchmarks.decoding --precision bf16 --json decoding.json

Captions are searched for in fp32, so that they depend on the machine as little as can be; self-critical training alone
draws them in its own precision.

Grids of 49 x 1280, vocabulary 3,000, sizes 512. The decoder is an untrained one that ends when its image says so, so
that captions have about as many words as people's and searches end as early as they do in use. The textbook decoder
computes in fp32 and says as many words of each image. Batches and single images take turns, the textbook's too; rates
are of captions of the same mean length.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.textbook import TextbookDecoder, search
from src.data.vocabulary import END
from src.decoding.search import beam_search, greedy
from src.files import write_json
from src.models.cells import State
from src.models.decoder import Decoder, DecoderConfig
from src.models.memory import Memory
from src.precision import DTYPES, autocast, described

Search = Callable[[torch.Tensor], list[Any]]
VOCABULARY, FEATURES, SIZE = 3000, 1280, 512
BATCH, WORDS = 128, 20
SHARE = 16
"""A batch and a SHARE-th of its images one at a time take turns."""
SHORTEST, LONGEST = 5, 17
"""Words of a caption: some end early and some late."""


class Pace:
    """Images per second of a search, were all captions as long as the mean of all kinds: those of single images are
    few, and may be the long ones."""

    def __init__(self) -> None:
        self.seconds, self.words = 0.0, list[int]()

    def add(self, search: Callable[[], list[int]], device: torch.device) -> None:
        """Time a search; it tells how many words its captions have."""
        self.seconds += machine.once(lambda: self.words.extend(search()), device)

    def rate(self, mean_words: float) -> float:
        """A step for each word and one for the end."""
        return sum(count + 1 for count in self.words) / self.seconds / (mean_words + 1)


def _paces(
    ours: Search, textbook: Callable[..., object], grids: torch.Tensor, precision: str
) -> tuple[Pace, Pace, Pace]:
    """Of batches, of images one at a time, and of the textbook."""
    device = grids.device

    def searched(part: torch.Tensor) -> list[int]:
        return [len((one[0] if isinstance(one, list) else one).ids) for one in ours(part)]

    def said(image: torch.Tensor, words: int) -> list[int]:
        textbook(image, words=words + 1)
        return [words]

    paces = fast, slow, other = Pace(), Pace(), Pace()
    with torch.inference_mode():
        for number, part in enumerate([grids[:BATCH], *torch.split(grids, BATCH)]):
            if number == 1:  # what came before was to get warm
                paces = fast, slow, other = Pace(), Pace(), Pace()
            with autocast(device, precision):
                fast.add(partial(searched, part), device)
            for image in torch.split(part[: max(1, len(part) // SHARE)], 1):
                with autocast(device, precision):
                    slow.add(partial(searched, image), device)
                other.add(partial(said, image, slow.words[-1]), device)
    return paces


class Timed(Decoder):
    """A decoder of random weights whose captions have as many words as its image says: SHORTEST to LONGEST."""

    said = 0

    def begin(self, grids: torch.Tensor, captions: int = 1) -> tuple[Memory, State]:
        self.said = 0
        return super().begin(grids, captions)

    def next(self, words: torch.Tensor, memory: Memory, state: State) -> tuple[torch.Tensor, State, torch.Tensor]:
        likely, state, looked = super().next(words, memory, state)
        # Of a sum: half of the regions' numbers are behind a rectifier, and the same in all images.
        length = SHORTEST + (memory.regions[:, :1].float().sum(dim=-1) * 1e4).long() % (LONGEST - SHORTEST + 1)
        likely[..., END] = torch.where(length <= self.said, 0.0, -torch.inf)
        self.said += 1
        return likely, state, looked


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding")
    parser.add_argument("--images", type=int, default=512, help=f"in batches; a {SHARE}th of them one at a time")
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp32")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = machine.device()
    grids = torch.randn(options.images, 49, FEATURES, device=device)
    title = f"Images per second, {described(options.precision, device)}"
    columns = "decoder", "search", "batches of 128", "one at a time", "times", "textbook, one at a time", "times"
    table = Table(*columns, title=title)
    rows = []
    for rnn in ("lstm", "gru"):
        torch.manual_seed(0)
        config = DecoderConfig(
            rnn=rnn, vocab_size=VOCABULARY, feature_size=FEATURES, rows=7, columns=7,
            hidden_size=SIZE, embedding_size=SIZE, attention_size=SIZE, dropout=0.0,
        )  # fmt: skip
        decoder = Timed(config).to(device).eval()
        other = TextbookDecoder(rnn, VOCABULARY, FEATURES, SIZE, SIZE, SIZE).to(device).eval()
        with torch.no_grad():
            other.vocab.bias[END] = -1e9  # it says as many words as it is told to
        searches: dict[str, tuple[Search, int]] = {
            "greedy": (partial(greedy, decoder, max_words=WORDS), 1),
            "beam 5": (partial(beam_search, decoder, beam_size=5, max_words=WORDS), 5),
        }
        for name, (ours, beams) in searches.items():
            machine.tell(f"{rnn} {name}")
            paces = _paces(ours, partial(search, other, beams=beams), grids, options.precision)
            mean_words = statistics.mean(paces[0].words)
            row: dict[str, Any] = {"rnn": rnn, "search": name, "mean_words": mean_words}
            row |= {
                kind: pace.rate(mean_words) for kind, pace in zip(("batched", "single", "textbook"), paces, strict=True)
            }
            row |= {f"times_{kind}": row["batched"] / row[kind] for kind in ("single", "textbook")}
            rows.append(row)
            figures = (f"{row[kind]:,.1f}" for kind in ("single", "times_single", "textbook", "times_textbook"))
            table.add_row(rnn.upper(), name, f"{row['batched']:,.0f}", *figures)
    Console().print(table)
    lengths = ", ".join(f"{row['mean_words']:.1f}" for row in rows)
    Console().print(f"mean words: {lengths}")
    if options.json:
        write_json(options.json, {"machine": machine.description(), "rows": rows})


if __name__ == "__main__":
    main()
