"""How long one picture takes from its bytes to its caption, warm, and which step takes it.

    python -m benchmarks.latency
    python -m benchmarks.latency --threads 1 --beam-size 5 --json latency.json

Test pictures of the prepared dataset one after the other, captioned by outputs/model: eager, and exported in single
precision and 8-bit integers (see `src.export`; without its packages, eager alone). Where there is no model yet, an
untrained decoder of 3,000 words stands in whose captions are as long as they may be. Milliseconds: median, 95th
percentile and fastest; steps are medians. `same` is how many pictures get the caption that eager gives in single
precision, CIDEr (D) how well captions fit the pictures' own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from src import config
from src.config import Decode, Embed
from src.data.images import ImageBytes, decode
from src.data.manifest import ImageRecord, Manifest
from src.data.vocabulary import END, Vocabulary
from src.decoding.describe import describe
from src.decoding.search import beam_search
from src.deployment.folder import export, require_packages
from src.encoders import loading as encoders
from src.encoders.folding import folded
from src.errors import UserError
from src.files import write_json
from src.metrics.cider import CiderScorer
from src.models.captioner import Captioner
from src.models.decoder import Decoder, DecoderConfig
from src.places import Places

GOAL = 60.0
"""Milliseconds on two cores with EfficientNet-Lite0 at beam 3."""
CALIBRATION = 32
NEVER_ENDING = -20.0


@dataclass
class Watch:
    """Times of the steps of one picture after the other, in milliseconds."""

    steps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    totals: list[float] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)

    def begin(self) -> None:
        self.start = self.last = time.perf_counter()

    def step(self, name: str) -> None:
        now = time.perf_counter()
        self.steps[name].append((now - self.last) * 1e3)
        self.last = now

    def end(self, caption: str) -> None:
        self.totals.append((time.perf_counter() - self.start) * 1e3)
        self.captions.append(caption)


Way = Callable[[bytes, Watch], str]


def eager(captioner: Captioner, settings: Decode) -> Way:
    """What `src.caption` does, with a clock between the steps."""
    assert captioner.encoder is not None
    encoder, decoder = folded(captioner.encoder), captioner.decoder

    @torch.inference_mode()
    def caption(data: bytes, watch: Watch) -> str:
        image = decode(data)
        watch.step("decode bytes")
        pixels = torch.from_numpy(encoder.pixels(image)[None])
        watch.step("resize")
        grids = encoder(pixels).half()
        watch.step("CNN")
        [[best, *_]] = describe(decoder, captioner.vocabulary, grids, settings, captioner.expectation)
        watch.step("first look, search, text")
        return best.text

    return caption


def exported(folder: Path, threads: int) -> Way:
    """The stand-alone captioner of an export."""
    from src.deployment.caption import Captioner as Standalone
    from src.deployment.caption import photograph

    captioner = Standalone(folder, threads)

    def caption(data: bytes, watch: Watch) -> str:
        image = photograph(data)
        watch.step("decode bytes")
        pixels = captioner.pixels(image)
        watch.step("resize")
        [[best, *_]] = captioner([pixels])
        watch.step("model, text")
        return best.text

    return caption


def searching(folder: Path, pictures: Sequence[np.ndarray], threads: int) -> float:
    """The share of an exported model's time that is beam search, by the runtime's own profile."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    for picture in pictures:
        session.run(None, {"pixels": picture[None]})
    times: dict[str, float] = defaultdict(float)
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event["name"] == "model_run":
            times["run"] += event["dur"]
        elif event.get("args", {}).get("op_name") == "Loop" and event["name"].endswith("_kernel_time"):
            times["loop"] += event["dur"]
    return times["loop"] / times["run"]


def looked(captioner: Captioner, data: Sequence[bytes], settings: Decode) -> dict[str, float]:
    """Medians of what `eager` cannot tell apart: the first look, and turning ids into text."""
    watch = Watch()
    assert captioner.encoder is not None
    encoder = folded(captioner.encoder)
    with torch.inference_mode():
        for one in data:
            grids = encoder(torch.from_numpy(encoder.pixels(decode(one))[None])).half()
            watch.begin()
            captioner.decoder.begin(grids, settings.beam_size)
            watch.step("first look")
            [found] = beam_search(
                captioner.decoder, grids, settings.beam_size, settings.max_words, settings.length_penalty,
                settings.block_ngrams,
            )  # fmt: skip
            watch.step("first look, search")
            _ = [" ".join(captioner.vocabulary.decode(hypothesis.ids)) for hypothesis in found]
            watch.step("text")
    medians = {name: statistics.median(values) for name, values in watch.steps.items()}
    return medians | {"search": medians.pop("first look, search") - medians["first look"]}


def untrained() -> Captioner:
    """EfficientNet-Lite0 with a decoder that has learnt nothing: it never ends, so every word is searched for."""
    encoder = encoders.load(Embed())
    shape = encoder.provenance
    torch.manual_seed(0)
    sizes = {"hidden_size": 512, "embedding_size": 256, "attention_size": 256}
    grid = {"feature_size": shape.features, "rows": shape.rows, "columns": shape.columns}
    decoder = Decoder(DecoderConfig(rnn="lstm", vocab_size=3000, dropout=0.0, **grid, **sizes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        decoder.vocab.bias[END] = NEVER_ENDING
    words = Vocabulary([f"word{number}" for number in range(2996)])
    return Captioner(decoder.requires_grad_(False), words, shape, Decode(), encoder=encoder)


def measure(way: Way, data: Sequence[bytes], repeats: int) -> Watch:
    for one in data[:3]:
        way(one, _started())
    watch = Watch()
    for _ in range(repeats):
        for one in data:
            watch.begin()
            watch.end(way(one, watch))
    return watch


def _started() -> Watch:
    watch = Watch()
    watch.begin()
    return watch


def row(name: str, watch: Watch, reference: Watch, images: Sequence[ImageRecord]) -> dict[str, Any]:
    scores = CiderScorer([image.words for image in images]).score(
        [text.split() for text in watch.captions[-len(images) :]]
    )
    totals = sorted(watch.totals)
    return {
        "way": name,
        "median_ms": statistics.median(totals),
        "p95_ms": totals[int(0.95 * (len(totals) - 1))],
        "fastest_ms": totals[0],
        "steps_ms": {step: statistics.median(times) for step, times in watch.steps.items()},
        "CIDEr": float(scores.mean()),
        "same": statistics.mean(a == b for a, b in zip(watch.captions, reference.captions, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency")
    parser.add_argument("--model", type=Path, default=Places().model)
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3, help="times each picture is captioned")
    parser.add_argument("--beam-size", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    captioner = Captioner.load(options.model) if options.model.exists() else untrained()
    settings = captioner.decode.model_copy(update={"beam_size": options.beam_size})
    manifest, read = Manifest.load(Places().dataset), ImageBytes(config.load().dataset.root)
    images = manifest.split("test")[: options.pictures]
    data = [read(image.location) for image in images]

    assert captioner.encoder is not None
    encoder = captioner.encoder
    precision, encoder.precision = encoder.precision, "fp32"
    reference = measure(eager(captioner, settings), data, options.repeats)
    rows = [row("eager, fp32", reference, reference, images)]
    encoder.precision = precision
    if precision != "fp32":
        own = measure(eager(captioner, settings), data, options.repeats)
        rows.append(row(f"eager, {precision}", own, reference, images))
    rows[-1]["steps_ms"] |= looked(captioner, data, settings)
    try:
        require_packages()
    except UserError as error:
        Console().print(f"eager alone: {error}")
    else:
        train = [read(image.location) for image in manifest.split("train")[:CALIBRATION]]
        seen = [np.ascontiguousarray(encoder.pixels(decode(one)).transpose(1, 2, 0)) for one in train]
        for name, pictures in (("exported, fp32", None), ("exported, int8", seen)):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / "export"
                export(captioner, folder, settings, pictures)
                size = (folder / "model.onnx").stat().st_size / 2**20
                watch = measure(exported(folder, options.threads), data, options.repeats)
                rows.append(row(name, watch, reference, images) | {"MiB": size})
                model = rows[-1]["steps_ms"]["model, text"]
                rows[-1]["steps_ms"]["search"] = model * searching(folder, seen, options.threads)
                rows[-1]["steps_ms"]["CNN, first look"] = model - rows[-1]["steps_ms"]["search"]
    _show(rows, options.threads, options.beam_size)
    if options.json:
        write_json(
            options.json,
            {
                "machine": machine.description() | {"load": f"{os.getloadavg()[0]:.1f}"},
                "threads": options.threads,
                "beam_size": options.beam_size,
                "pictures": len(data),
                "repeats": options.repeats,
                "trained": options.model.exists(),
                "mean_words": statistics.mean(len(text.split()) for text in reference.captions),
                "rows": rows,
            },
        )


def _show(rows: Sequence[dict[str, Any]], threads: int, beams: int) -> None:
    title = f"One picture, bytes to caption, beam {beams}, {threads} threads, ms (goal: {GOAL:.0f})"
    table = Table("way", "median", "p95", "fastest", "same", "CIDEr", "steps", title=title)
    for one in rows:
        steps = ", ".join(f"{name} {value:.1f}" for name, value in one["steps_ms"].items())
        numbers = [f"{one[key]:.1f}" for key in ("median_ms", "p95_ms", "fastest_ms")]
        table.add_row(one["way"], *numbers, f"{one['same']:.1%}", f"{one['CIDEr']:.3f}", steps)
    Console().print(table)


if __name__ == "__main__":
    main()
