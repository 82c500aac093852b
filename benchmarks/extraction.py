"""Images per second of the embedding cache beside the CNN's own forward rate: what reading and decoding add.

    python -m benchmarks.extraction
    python -m benchmarks.extraction --encoder efficientnet_lite2 --images 2000 --json extraction.json

Photograph-sized JPEGs that the benchmark draws; random weights, which compute as fast as trained ones. The CNN's own
rate is that of the same encoder on pixels that lie ready in memory, in batches of the same size, alternating with the
cache's. Before them comes what it is while the C library gives memory back behind every layer (`src.heap`).
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from src.config import Embed
from src.data.manifest import ImageRecord, Location, Manifest
from src.data.sample import scene
from src.data.scenes.picture import paint
from src.encoders import cache, loading
from src.encoders.folding import folded
from src.files import write_json
from src.heap import keep_freed_memory
from src.launch import cores
from src.precision import described
from src.processes import Group

DRAWN = 24
SIDE = 400
"""Pixels per side of the JPEGs: about what Flickr8k's photographs have."""


def archive(folder: Path, images: int) -> Manifest:
    """A file of JPEGs behind one another, and the manifest that finds them."""
    drawn = []
    for number in range(DRAWN):
        buffer = io.BytesIO()
        paint(scene(0, number)[0]).resize((SIDE, SIDE)).save(buffer, "JPEG", quality=90)
        drawn.append(buffer.getvalue())
    records, offset = [], 1
    with (folder / "images.bin").open("wb") as file:
        file.write(b"\0")
        for number in range(images):
            data = drawn[number % DRAWN]
            file.write(data)
            location = Location("images.bin", offset, len(data))
            records.append(ImageRecord(f"drawn/{number}", "train", location, SIDE, SIDE, ("a",), (("a",),)))
            offset += len(data)
    return Manifest.of(records)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction")
    parser.add_argument("--encoder", default="efficientnet_lite0")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = machine.device()
    group = Group(0, 1, device)
    gpu = device.type == "cuda"
    settings = Embed(
        encoder=options.encoder, weights="random", batch_size=256 if gpu else 32, workers=cores() if gpu else 2
    )
    encoder = loading.load(settings)
    network = folded(encoder).to(device)
    pixels = torch.randint(0, 256, (settings.batch_size, 3, network.image_size, network.image_size), dtype=torch.uint8)
    batches = max(1, options.images // settings.batch_size)
    own, cached = [], []

    def forward() -> float:
        """Images per second of the CNN."""
        start = time.perf_counter()
        with torch.inference_mode():
            for _ in range(batches):
                network(pixels.to(device)).to(torch.float16).cpu()
        machine.synchronise(device)
        return float(batches * settings.batch_size / (time.perf_counter() - start))

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        manifest = archive(place, batches * settings.batch_size)
        with torch.inference_mode():
            network(pixels.to(device))
        giving_back = forward()
        keep_freed_memory()
        forward()  # the heap grows
        for turn in range(options.rounds):
            own.append(forward())
            result = cache.fill(encoder, manifest, place, place / f"out{turn}", place / "scratch", settings, group)
            cached.append(result["images_per_second"])
    ratio = float(np.median(np.array(cached) / np.array(own)))
    table = Table(
        "", "images/s", title=f"{options.encoder}, {len(manifest)} images, {described(settings.precision, device)}"
    )
    table.add_row("the CNN alone, memory given back", f"{giving_back:,.1f}")
    table.add_row("the CNN alone", f"{np.median(own):,.1f}")
    table.add_row("the cache: read, decode, CNN, write", f"{np.median(cached):,.1f}")
    table.add_row("ratio (median of the rounds')", f"{ratio:.2f}")
    Console().print(table)
    if options.json:
        figures = {
            "giving_back_images_per_second": giving_back,
            "cnn_images_per_second": own,
            "cache_images_per_second": cached,
            "ratio": ratio,
        }
        write_json(options.json, {"machine": machine.description(), "encoder": options.encoder, **figures})


if __name__ == "__main__":
    main()
