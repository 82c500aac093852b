"""Captions per second of a training step, beside a textbook decoder and the machine's own limit.

    python -m benchmarks.training
    python -m benchmarks.training --json training.json

DenseNet121's grids (49 x 1024, random numbers), batches of 64 images with 5 captions of Flickr8k's lengths, vocabulary
3,000, hidden, embedding and attention size 512. A step is what training does: forward, backward, clipping, AdamW. The
textbook decoder gets the same captions, padded to the batch's longest, in batches sorted by length. All kinds take
turns, the textbook's too; a figure is the median of its rounds. How memory is handled (`src.heap`) is ours: the
textbook's process is left as it is.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks import machine
from benchmarks.textbook import TextbookDecoder
from src.config import Model, Settings, Train
from src.data.manifest import ImageRecord, Location, Manifest
from src.data.vocabulary import PAD, Vocabulary
from src.encoders.encoder import Encoder
from src.files import write_json
from src.models import native
from src.models.decoder import Decoder, DecoderConfig
from src.precision import DTYPES
from src.processes import Group
from src.tracking import Silent
from src.training.batches import Batch
from src.training.recurrent import RecurrentLearner
from src.training.resources import ResourceMonitor
from src.training.stopping import StopRequest
from src.training.trainer import Trainer

IMAGES, CAPTIONS, BATCH, VOCABULARY = 6000, 5, 64, 3000
ROWS, FEATURES, SIZE = 7, 1024, 512
RNNS = "lstm", "gru"
TEXTBOOK = "textbook, fp32"
LENGTHS = {2: 15, 3: 126, 4: 346, 5: 861, 6: 1959, 7: 2536, 8: 2929, 9: 3318, 10: 3320, 11: 3130, 12: 2777, 13: 2322,
           14: 1847, 15: 1327, 16: 979, 17: 663, 18: 513, 19: 365, 20: 667}  # fmt: skip
"""Words a caption: how often in Flickr8k's 30,000 training captions, cut after 20."""


def invented_manifest() -> tuple[Manifest, Vocabulary]:
    """Captions of words w0, w1, ... with Flickr8k's lengths."""
    random = np.random.default_rng(0)
    words = [f"w{number}" for number in range(VOCABULARY - 4)]
    share = np.array(list(LENGTHS.values())) / sum(LENGTHS.values())
    images = []
    for number in range(IMAGES + BATCH):
        lengths = random.choice(list(LENGTHS), size=CAPTIONS, p=share)
        captions = tuple(tuple(words[index] for index in random.integers(0, len(words), length)) for length in lengths)
        images.append(
            ImageRecord(
                f"invented/{number}", "train" if number < IMAGES else "val", Location("none", 0, 0), 1, 1,
                tuple(map(" ".join, captions)), captions,
            )
        )  # fmt: skip
    return Manifest.of(images), Vocabulary(words)


def invented_grids() -> Float16[np.ndarray, "image region feature"]:
    """A batch's worth."""
    return np.random.default_rng(1).standard_normal((BATCH, ROWS * ROWS, FEATURES)).astype(np.float16)


def trainer_of(
    rnn: str,
    kind: dict[str, Any],
    manifest: Manifest,
    vocabulary: Vocabulary,
    grids: Float16[np.ndarray, "image region feature"],
    group: Group,
    encoder: Encoder | None = None,
) -> Trainer[Batch]:
    settings = Settings(
        model=Model.model_validate(
            {"rnn": rnn, "hidden_size": SIZE, "embedding_size": SIZE, "attention_size": SIZE, "dropout": 0.4}
        ),
        train=Train.model_validate({"batch_images": BATCH, **kind}),
    )
    config = DecoderConfig(
        vocab_size=len(vocabulary), feature_size=FEATURES, rows=ROWS, columns=ROWS, **settings.model.model_dump()
    )
    torch.manual_seed(0)
    learner = RecurrentLearner(settings, manifest, vocabulary, grids, Decoder(config), group, encoder)
    return Trainer(learner, settings.train, settings.seed, group)


def ours(rnn: str, kind: dict[str, Any], group: Group, steps: int) -> list[machine.Work]:
    """Training steps, each with its captions."""
    grids = invented_grids()
    manifest, vocabulary = invented_manifest()
    trainer = trainer_of(rnn, kind, manifest, vocabulary, grids, group)
    features = torch.from_numpy(grids)
    trainer.learner.teaching.train()
    found: list[machine.Work] = []
    for chosen in trainer.images.order(0, BATCH, 0)[:steps]:
        batch = trainer.images.pack(chosen).with_grids(features[: len(chosen)]).to(group.device)
        words, captions = trainer.images.count(chosen)
        found.append((captions, partial(trainer.step, batch, chosen, words, captions, Silent())))
    return found


def epochs(
    rnn: str, kind: dict[str, Any], manifest: Manifest, vocabulary: Vocabulary, group: Group, count: int
) -> list[float]:
    """Seconds of whole epochs of Flickr8k's size, reading and packing included; the first one compiles and records."""
    grids = np.resize(invented_grids(), (len(manifest), ROWS * ROWS, FEATURES))
    trainer = trainer_of(rnn, kind, manifest, vocabulary, grids, group)
    with ResourceMonitor() as monitor:
        return [
            machine.once(partial(trainer.train_epoch, epoch, None, StopRequest(), monitor, Silent()), group.device)
            for epoch in range(count)
        ]


def textbook_steps(rnn: str, group: Group, steps: int) -> list[machine.Work]:
    """The same for the textbook decoder, in fp32."""
    manifest, vocabulary = invented_manifest()
    decoder = TextbookDecoder(rnn, len(vocabulary), FEATURES, SIZE, SIZE, SIZE).to(group.device)
    optimiser = torch.optim.AdamW(decoder.parameters())
    captions = sorted((words for image in manifest.split("train") for words in image.words), key=len)
    chunks = [captions[start : start + BATCH * CAPTIONS] for start in range(0, len(captions), BATCH * CAPTIONS)]
    grids = torch.randn(BATCH, ROWS * ROWS, FEATURES, device=group.device).repeat_interleave(CAPTIONS, dim=0)
    found: list[machine.Work] = []
    # Evenly from the short ones to the long ones.
    for chunk in (chunks[int((step + 0.5) * len(chunks) / steps)] for step in range(steps)):
        width = len(chunk[-1]) + 2
        rows = [[1, *vocabulary.encode(words), 2] for words in chunk]
        ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows], device=group.device)

        def step(ids: torch.Tensor = ids) -> None:
            logits = decoder(grids[: len(ids)], ids[:, :-1])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(decoder.parameters(), 5.0)
            optimiser.step()
            optimiser.zero_grad()

        found.append((len(chunk), step))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("--steps", type=int, default=12, help="measured steps of each kind")
    parser.add_argument("--textbook-steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="of all kinds in turns; each one's median counts")
    parser.add_argument(
        "--epochs", type=int, default=4 if torch.cuda.is_available() else 0, help="whole epochs to time (4 on a GPU)"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    device = machine.device()
    group = Group(0, 1, device)
    result: dict[str, Any] = {"machine": machine.description()}
    precisions = [kind for kind in machine.precisions(device) if kind != "fp16"]
    peaks = {kind: machine.matrix_product_peak(DTYPES[kind], device) for kind in precisions}
    kinds: dict[str, dict[str, Any]] = {kind: {"precision": kind} for kind in precisions}
    if not native.takes(device):  # there nothing is left to compile
        kinds[f"{precisions[-1]}, compiled"] = {"precision": precisions[-1], "compile": True}
    result["matrix_product_TFLOPs"] = peaks
    works: dict[str, Callable[[], list[machine.Work]]] = {}
    for rnn in RNNS:
        works[f"{rnn} {TEXTBOOK}"] = partial(textbook_steps, rnn, group, options.textbook_steps)
        works |= {f"{rnn} {name}": partial(ours, rnn, kind, group, options.steps) for name, kind in kinds.items()}
    textbooks = [f"{rnn} {TEXTBOOK}" for rnn in RNNS]
    rates = result["captions_per_second"] = machine.in_turns(works, options.rounds, device, textbooks)
    table = Table("decoder", "captions/s", "of the textbook's", title=f"A training step, medians of {options.rounds}")
    for rnn in RNNS:
        base = rates[f"{rnn} {TEXTBOOK}"]
        for name in (TEXTBOOK, *kinds):
            speeds = rates[f"{rnn} {name}"]
            median, ratio = statistics.median(speeds), machine.times(speeds, base)
            table.add_row(f"{rnn.upper()}, {name}", f"{median:,.0f}", f"{ratio:.1f}")
    console = Console()
    console.print(table)
    if options.epochs:
        machine.tell("whole epochs")
        name, kind = [*kinds.items()][-1]
        seconds = {rnn: epochs(rnn, kind, *invented_manifest(), group, options.epochs) for rnn in RNNS}
        result["epoch_seconds"] = seconds
        for rnn, each in seconds.items():
            times = ", ".join(f"{one:.2f}" for one in each)
            console.print(f"epochs of {IMAGES:,} images, {rnn.upper()}, {name}: {times} s")
    console.print(f"matrix product: {', '.join(f'{name} {peak:.2f} TFLOP/s' for name, peak in peaks.items())}")
    console.print(", ".join(f"{key}: {value}" for key, value in result["machine"].items()), highlight=False)
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
