"""Peak memory and time of a training step, with and without gradient checkpointing, in each precision.

    python -m benchmarks.memory
    python -m benchmarks.memory --json memory.json

Each kind runs in a process of its own. What counts is the peak during a step above what lies there before it (model,
optimiser, features): activations and gradients. On a CPU resident memory is read, with an allocator that gives every
freed block back at once; on a GPU PyTorch's own account.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.training import BATCH, FEATURES, ROWS, SIZE, invented_manifest
from src.config import Model, Settings, Train
from src.files import write_json
from src.models.decoder import Decoder, DecoderConfig
from src.processes import Group
from src.tracking import Silent
from src.training.recurrent import RecurrentLearner
from src.training.trainer import Trainer

STEPS = 6
MEBIBYTE = 2**20


def measure(precision: str, checkpointing: bool) -> dict[str, float]:
    """Median peak in MiB and seconds of a step."""
    device = machine.device()
    manifest, vocabulary = invented_manifest()
    settings = Settings(
        model=Model(hidden_size=SIZE, embedding_size=SIZE, attention_size=SIZE),
        train=Train.model_validate(
            {"batch_images": BATCH, "precision": precision, "gradient_checkpointing": checkpointing}
        ),
    )
    config = DecoderConfig(
        vocab_size=len(vocabulary), feature_size=FEATURES, rows=ROWS, columns=ROWS, **settings.model.model_dump()
    )
    grids = np.random.default_rng(1).standard_normal((BATCH, ROWS * ROWS, FEATURES)).astype(np.float16)
    group = Group(0, 1, device)
    learner = RecurrentLearner(settings, manifest, vocabulary, grids, Decoder(config), group)
    trainer = Trainer(learner, settings.train, settings.seed, group)
    trainer.learner.teaching.train()
    features = torch.from_numpy(grids)
    peaks, times = [], []
    for chosen in trainer.images.order(0, BATCH, 0)[: STEPS + 1]:
        batch = trainer.images.pack(chosen).with_grids(features[: len(chosen)]).to(device)
        words, captions = trainer.images.count(chosen)
        trainer.optimiser.zero_grad(set_to_none=True)
        before = _reset(device)
        times.append(machine.once(lambda: trainer.step(batch, chosen, words, captions, Silent()), device))  # noqa: B023
        peaks.append(_peak(device) - before)
    return {"peak_MiB": statistics.median(peaks[1:]), "seconds": statistics.median(times[1:])}


def _reset(device: torch.device) -> float:
    """Forget the peak; returns what is in use now, in MiB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / MEBIBYTE
    machine.forget_peak_memory()
    return machine.memory_mebibytes()


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    return machine.peak_memory_mebibytes()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs=2, metavar=("PRECISION", "CHECKPOINTING"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only[0], options.only[1] == "True")))
        return
    if not torch.cuda.is_available() and sys.platform != "linux":
        sys.exit("error: without a GPU the peak is read from Linux' /proc, which is not here")
    table = Table("precision", "checkpointing", "peak MiB", "of the peak without", "time of the time without")
    rows: list[dict[str, Any]] = []
    for precision in machine.precisions(machine.device()):
        for checkpointing in (False, True):
            row: dict[str, Any] = {"precision": precision, "checkpointing": checkpointing}
            row |= _apart(precision, checkpointing)
            rows.append(row)
            without = rows[-2] if checkpointing else row
            table.add_row(
                precision,
                "yes" if checkpointing else "no",
                f"{row['peak_MiB']:,.0f}",
                f"{row['peak_MiB'] / without['peak_MiB']:.2f}",
                f"{row['seconds'] / without['seconds']:.2f}",
            )
    Console().print(table)
    if options.json:
        write_json(options.json, {"machine": machine.description(), "rows": rows})


def _apart(precision: str, checkpointing: bool) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", "--only", precision, str(checkpointing)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
