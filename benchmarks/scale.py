"""What prepare and an epoch cost as a dataset grows: 8 thousand, 30 thousand and all 123 thousand images of COCO 2014.

    python -m benchmarks.scale
    python -m benchmarks.scale --json scale.json

Captions are COCO's own, 616,767 of them, which lie inside pycocoevalcap's SPICE jar; their images are the smallest
JPEGs there are, features come from a sparse file of zeros in fp16, 49 x 1280. `prepare` is the real stage. An epoch is
the real order, packing and reading of every batch, and as many optimiser steps as asked for, from which the rest is
reckoned. Each size runs in a process of its own, whose peak of memory is its own. The memory of an epoch is what that
process has at its end, without pages of the memory-mapped file, which the system gives back when it needs them.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from src.config import Dataset, Settings
from src.data.dataset import prepare
from src.data.vocabulary import VOCABULARY_FILE, Vocabulary
from src.files import write_json
from src.metrics.java import pycocoevalcap_jar
from src.models.decoder import Decoder, DecoderConfig
from src.processes import Group
from src.tracking import Silent
from src.training.batches import read_ahead
from src.training.grids import GridReader
from src.training.recurrent import RecurrentLearner
from src.training.trainer import Trainer

SIZES = (8_000, 30_000, 123_287)
ANNOTATIONS = "coco/annotations/captions_{}2014.json"
ROWS, FEATURES = 7, 1280


def lay_out(folder: Path, images: int) -> None:
    """COCO 2014 as its authors distribute it, cut down to `images` images, a third of them for validation."""
    jar = pycocoevalcap_jar("spice", "spice-1.0.jar")
    tiny = io.BytesIO()
    Image.new("RGB", (1, 1)).save(tiny, "JPEG")
    root = folder / "coco"
    root.mkdir(parents=True)
    with zipfile.ZipFile(jar) as archive, zipfile.ZipFile(root / "annotations_trainval2014.zip", "w") as annotations:
        for split, share in (("train", images - images // 3), ("val", images // 3)):
            content = json.loads(archive.read(ANNOTATIONS.format(split)))
            content["images"] = sorted(content["images"], key=lambda image: image["id"])[:share]
            known = {image["id"] for image in content["images"]}
            content["annotations"] = [one for one in content["annotations"] if one["image_id"] in known]
            annotations.writestr(f"annotations/captions_{split}2014.json", json.dumps(content))
            with zipfile.ZipFile(root / f"{split}2014.zip", "w") as pictures:
                for image in content["images"]:
                    pictures.writestr(f"{split}2014/{image['file_name']}", tiny.getvalue())


def measure(images: int, steps: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(folder / "data", images)
        settings = Settings(dataset=Dataset(name="coco", root=folder / "data"))
        machine.forget_peak_memory()
        start = time.perf_counter()
        manifest = prepare(settings, folder / "dataset", folder / "dataset.json")
        figures: dict[str, Any] = {
            "images": len(manifest),
            "captions": sum(len(image.captions) for image in manifest.images),
            "prepare_seconds": time.perf_counter() - start,
            "prepare_peak_MiB": machine.peak_memory_mebibytes(),
        }
        vocabulary = Vocabulary.load(folder / "dataset" / VOCABULARY_FILE)
        shape = (len(manifest), ROWS * ROWS, FEATURES)
        grids = np.lib.format.open_memmap(folder / "grids.npy", mode="w+", dtype=np.float16, shape=shape)
        config = DecoderConfig(
            vocab_size=len(vocabulary), feature_size=FEATURES, rows=ROWS, columns=ROWS, **settings.model.model_dump()
        )
        device = machine.device()
        group = Group(0, 1, device)
        learner = RecurrentLearner(settings, manifest, vocabulary, grids, Decoder(config), group)
        trainer = Trainer(learner, settings.train, settings.seed, group)
        trainer.learner.teaching.train()
        batches = trainer.images.order(0, settings.train.batch_images, 0)
        start = time.perf_counter()
        order = trainer.images.order(0, settings.train.batch_images, 0)
        for _ in read_ahead(trainer.images, order, GridReader(grids), device):
            pass
        reading = time.perf_counter() - start
        start = time.perf_counter()
        chosen_steps = [batches[index] for index in np.linspace(0, len(batches) - 1, steps).astype(int)]
        for chosen, batch in zip(
            chosen_steps, read_ahead(trainer.images, chosen_steps, GridReader(grids), device), strict=True
        ):
            trainer.step(batch, chosen, *trainer.images.count(chosen), Silent())
        step = (time.perf_counter() - start) / steps
        return figures | {
            "read_epoch_seconds": reading,
            "step_seconds": step,
            "epoch_seconds": step * len(batches),
            "epoch_anonymous_MiB": machine.anonymous_memory_mebibytes(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--steps", type=int, default=10, help="optimiser steps that are really done")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print("\n" + json.dumps(measure(options.only, options.steps)))
        return
    rows = []
    for size in options.sizes:
        command = [sys.executable, "-m", "benchmarks.scale", "--only", str(size), "--steps", str(options.steps)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    table = Table(title="COCO 2014's captions")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in row.values()))
    Console().print(table)
    if options.json:
        write_json(options.json, {"machine": machine.description(), "rows": rows})


if __name__ == "__main__":
    main()
