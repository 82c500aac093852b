"""Peak memory and time of a training step, with and without gradient checkpointing, in each precision: of the decoder
alone, and of DenseNet121 and the decoder together (`train.finetune_encoder`). Beside them the textbook decoder.

    python -m benchmarks.memory
    python -m benchmarks.memory --json memory.json

What counts is the peak during a step above what lies there before it (model, optimiser, features): activations and
gradients. On a CPU resident memory is read, with an allocator that gives every freed block back at once, each kind in a
process of its own; on a GPU PyTorch's own account. Every batch is trained on once before: what multiplies matrices
prepares for each shape that it sees. Times are taken elsewhere, without that allocator, with and without checkpointing
in turns; the ratio is the median of the rounds'.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.training import BATCH, invented_grids, invented_manifest, textbook_steps, trainer_of
from src.config import Embed
from src.encoders import loading
from src.files import write_json
from src.processes import Group
from src.tracking import Silent
from src.training.learner import WITH_ENCODER

STEPS, STEPS_TOGETHER = 6, 2
TEXTBOOK, ALONE, TOGETHER = "the textbook decoder", "the decoder", "CNN and decoder"
BATCH_TOGETHER = 8
"""Images a step where the CNN learns too."""
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", machine.LARGE_PAGES: "0"}
Step = Callable[[], object]
MEBIBYTE = 2**20


def peak(kind: str, precision: str, checkpointing: bool) -> float:
    """Median of the steps', in MiB."""
    device = machine.device()
    step = _textbook(device) if kind == TEXTBOOK else _ours(device, kind == TOGETHER, precision, checkpointing)
    for number in range(STEPS):
        step(number)()
    peaks = []
    for number in range(STEPS):
        one = step(number)
        before = _reset(device)
        one()
        peaks.append(_peak(device) - before)
    return statistics.median(peaks)


def steps(kind: str, precision: str, checkpointing: bool) -> list[machine.Work]:
    """Each of them as a piece of work."""
    step = _ours(machine.device(), kind == TOGETHER, precision, checkpointing)
    return [(1, step(number)) for number in range(STEPS_TOGETHER if kind == TOGETHER else STEPS)]


def _ours(device: torch.device, together: bool, precision: str, checkpointing: bool) -> Callable[[int], Step]:
    manifest, vocabulary = invented_manifest()
    kind = {"precision": precision, "gradient_checkpointing": checkpointing, "finetune_encoder": int(together)}
    embed = Embed.model_validate({"encoder": "densenet121", "weights": "random", "precision": precision})
    encoder = loading.load(embed) if together else None
    images = BATCH_TOGETHER if together else BATCH
    grids = invented_grids()
    seen: torch.Tensor = torch.from_numpy(grids)
    if encoder is not None:
        seen = torch.randint(0, 256, (images, 3, encoder.image_size, encoder.image_size), dtype=torch.uint8)
    trainer = trainer_of("lstm", kind, manifest, vocabulary, grids, Group(0, 1, device), encoder)
    learner = trainer.learner
    if together:
        learner.begin(next(phase for phase in trainer.phases if phase.kind == WITH_ENCODER))
    learner.teaching.train()
    order = trainer.images.order(0, images, 0)

    def step(number: int) -> Step:
        chosen = order[number]
        batch = trainer.images.pack(chosen).with_grids(seen[: len(chosen)]).to(device)
        words, captions = trainer.images.count(chosen)
        trainer.optimiser.zero_grad(set_to_none=True)
        return lambda: trainer.step(batch, chosen, words, captions, Silent())

    return step


def _textbook(device: torch.device) -> Callable[[int], Step]:
    works = textbook_steps("lstm", Group(0, 1, device), STEPS)
    return lambda number: works[number][1]


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
    parser.add_argument("--rounds", type=int, default=7, help="with and without checkpointing in turns")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs=3, metavar=("KIND", "PRECISION", "CHECKPOINTING"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        kind, precision, checkpointing = options.only
        print(peak(kind, precision, checkpointing == "True"))
        return
    if not torch.cuda.is_available() and sys.platform != "linux":
        sys.exit("error: without a GPU the peak is read from Linux' /proc, which is not here")
    table = Table("a step of", "precision", "checkpointing", "peak MiB", "times the peak", "times the time")
    rows: list[dict[str, Any]] = [{"step": TEXTBOOK, "precision": "fp32", "peak_MiB": _apart(TEXTBOOK, "fp32", False)}]
    table.add_row(TEXTBOOK, "fp32", "no", f"{rows[0]['peak_MiB']:,.0f}", "", "")
    for kind in (ALONE, TOGETHER):
        for precision in machine.precisions(machine.device()):
            without, again = (_apart(kind, precision, checkpointing) for checkpointing in (False, True))
            works = {
                f"{kind}, {precision}{told}": partial(steps, kind, precision, bool(told))
                for told in ("", ", checkpointing")
            }
            rates, others = machine.in_turns(works, options.rounds, machine.device()).values()
            row = {"step": kind, "precision": precision, "peak_MiB": without, "checkpointed_peak_MiB": again}
            row |= {"times_the_peak": again / without, "times_the_time": machine.times(rates, others)}
            table.add_row(kind, precision, "no", f"{without:,.0f}", "", "")
            table.add_row(
                "", "", "yes", f"{again:,.0f}", f"{row['times_the_peak']:.2f}", f"{row['times_the_time']:.2f}"
            )
            rows.append(row)
    Console().print(table)
    if options.json:
        write_json(options.json, {"machine": machine.description(), "rows": rows})


def _apart(kind: str, precision: str, checkpointing: bool) -> float:
    """The peak, read in a process of its own."""
    machine.tell(f"the peak: {kind}, {precision}{', checkpointing' if checkpointing else ''}")
    command = [sys.executable, "-m", "benchmarks.memory", "--only", kind, precision, str(checkpointing)]
    done = subprocess.run(command, env=os.environ | GIVING_BACK, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
