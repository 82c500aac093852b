"""Images per second of greedy and beam search, in batches and one at a time.

    python -m benchmarks.decoding
    python -m benchmarks.decoding --precision bf16 --json decoding.json

Captions are searched for in fp32, so that they depend on the machine as little as can be; self-critical training alone
draws them in its own precision.

Grids of 49 x 1280, vocabulary 3,000, sizes 512. The decoder is an untrained one that ends when its image says so, so
that captions have about as many words as people's and searches end as early as they do in use.
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
from src.data.vocabulary import END
from src.decoding.search import beam_search, greedy
from src.files import write_json
from src.models.cells import State
from src.models.decoder import Decoder, DecoderConfig
from src.models.memory import Memory
from src.precision import DTYPES, autocast, described

Search = Callable[[torch.Tensor], list[Any]]

BATCH, WORDS = 128, 20
SHORTEST, LONGEST = 5, 17
"""Words of a caption: some end early and some late."""


def _rates(
    search: Search, grids: torch.Tensor, device: torch.device, precision: str
) -> tuple[list[float], list[float], list[Any]]:
    """Images per second of each batch and of each image alone, and what was found in batches."""
    found: list[Any] = []
    with torch.inference_mode(), autocast(device, precision):
        search(grids[:BATCH])
        fast = [
            len(part) / machine.once(partial(_keep, found, search, part), device) for part in torch.split(grids, BATCH)
        ]
        alone = torch.split(grids[: len(grids) // 16], 1)
        slow = [1 / machine.once(partial(search, image), device) for image in alone]
    return fast, slow, found


def _keep(found: list[Any], search: Search, part: torch.Tensor) -> None:
    found += search(part)


class Timed(Decoder):
    """A decoder of random weights whose captions have as many words as its image says: SHORTEST to LONGEST."""

    said = 0

    def begin(self, grids: torch.Tensor, captions: int = 1) -> tuple[Memory, State]:
        self.said = 0
        return super().begin(grids, captions)

    def next(self, words: torch.Tensor, memory: Memory, state: State) -> tuple[torch.Tensor, State, torch.Tensor]:
        likely, state, looked = super().next(words, memory, state)
        length = SHORTEST + (memory.regions[:, :1, 0].float() * 1e4).long() % (LONGEST - SHORTEST + 1)
        likely[..., END] = torch.where(length <= self.said, 0.0, -torch.inf)
        self.said += 1
        return likely, state, looked


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding")
    parser.add_argument("--images", type=int, default=512, help="in batches; a sixteenth of them one at a time")
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp32")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = machine.device()
    grids = torch.randn(options.images, 49, 1280, device=device)
    title = f"Images per second, {described(options.precision, device)}"
    table = Table("decoder", "search", "batches of 128", "one at a time", "times", title=title)
    rows = []
    for rnn in ("lstm", "gru"):
        torch.manual_seed(0)
        config = DecoderConfig(
            rnn=rnn, vocab_size=3000, feature_size=1280, rows=7, columns=7,
            hidden_size=512, embedding_size=512, attention_size=512, dropout=0.0,
        )  # fmt: skip
        decoder = Timed(config).to(device).eval()
        searches: dict[str, Search] = {
            "greedy": partial(greedy, decoder, max_words=WORDS),
            "beam 5": partial(beam_search, decoder, beam_size=5, max_words=WORDS),
        }
        for name, search in searches.items():
            fast, slow, found = _rates(search, grids, device, options.precision)
            first = [one[0] if isinstance(one, list) else one for one in found]
            row: dict[str, Any] = {
                "rnn": rnn,
                "search": name,
                "batched": statistics.harmonic_mean(fast),
                "single": statistics.harmonic_mean(slow),
                "mean_words": statistics.mean(len(one.ids) for one in first),
            }
            row["ratio"] = row["batched"] / row["single"]
            rows.append(row)
            table.add_row(rnn.upper(), name, f"{row['batched']:,.0f}", f"{row['single']:,.1f}", f"{row['ratio']:.1f}")
    Console().print(table)
    lengths = ", ".join(f"{row['mean_words']:.1f}" for row in rows)
    Console().print(f"mean words: {lengths}")
    if options.json:
        write_json(options.json, {"machine": machine.description(), "rows": rows})


if __name__ == "__main__":
    main()
