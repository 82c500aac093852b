"""All figures of a pipeline run: drawn from the files that earlier stages left, kept as PNG and with the MLflow run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image

from src import tracking
from src.config import Settings
from src.data.images import ImageBytes, decode
from src.data.manifest import ImageRecord, Manifest
from src.decoding.images import describe_images
from src.encoders.cache import Embeddings
from src.errors import MissingFile, UserError
from src.models.captioner import Captioner
from src.places import Places
from src.training.report import read_report
from src.visualize.attention import attention_figure
from src.visualize.curves import curves_figure, read_curves
from src.visualize.sheet import BEST, COLUMNS, LOT, Tile, choose, sheet_figure
from src.visualize.style import save

ATTENTION_EACH = 3
"""Images whose attention is drawn, of the best and of those drawn by lot."""
PIXELS = 640
"""Larger photographs may be decoded smaller, as long as they keep this many on each side."""


@dataclass(frozen=True)
class Evaluated:
    """A test image as one model captioned it.

    Attributes:
        row: of the manifest and of the embedding cache.
        score: of the caption, by the metric that images are ranked by.
    """

    row: int
    image: ImageRecord
    caption: str
    score: float


def draw(settings: Settings, places: Places) -> list[Path]:
    """Draw every figure of the trained model, replace those of an earlier run, and add them to its MLflow run.

    Returns:
        The files, the contact sheet first.

    Raises:
        UserError: an input is missing, or is of another model or other images than the rest.
    """
    manifest = Manifest.load(places.dataset)
    embeddings = Embeddings.open(places.embeddings, manifest, settings.embed)
    captioner = Captioner.load(places.model, with_encoder=False)
    training = read_report(places.training, captioner)
    paths = []
    for name, figure in figures(settings, places, manifest, embeddings, captioner):
        paths.append(places.figures / f"{name}.png")
        save(figure, paths[-1])
    for former in set(places.figures.glob("*.png")) - set(paths):
        former.unlink()
    run = tracking.attach(training["run_id"], name=captioner.name, settings=settings)
    for path in paths:
        run.artifact(path, "figures")
    return paths


def figures(
    settings: Settings, places: Places, manifest: Manifest, embeddings: Embeddings, captioner: Captioner
) -> Iterator[tuple[str, Figure]]:
    """The figures and their names, each drawn when it is asked for."""
    metric, evaluated = _evaluated(places.evaluation, manifest, captioner.name)
    read = ImageBytes(settings.dataset.root)

    def picture(image: ImageRecord) -> Image.Image:
        return decode(read(image.location), image.name, at_least=PIXELS)

    chosen = {
        kind: [evaluated[position] for position in positions]
        for kind, positions in choose([one.score for one in evaluated], COLUMNS, settings.seed).items()
    }
    tiles = {
        kind: [
            Tile(picture(one.image), sentence(one.caption), sentence(one.image.captions[0]), one.score) for one in row
        ]
        for kind, row in chosen.items()
    }
    yield "captions", sheet_figure(tiles, captioner.name, metric)
    yield "training", curves_figure(read_curves(places.curves), captioner.name)

    looked_at = [
        (f"attention-{name}-{number}", one)
        for name, kind in (("best", BEST), ("lot", LOT))
        for number, one in enumerate(chosen.get(kind, [])[:ATTENTION_EACH], start=1)
    ]
    with torch.inference_mode():
        rows = [one.row for _, one in looked_at]
        said = list(describe_images(captioner, embeddings, manifest, rows, settings))
    shape = embeddings.provenance
    for (name, one), captions in zip(looked_at, said, strict=True):
        yield (
            name,
            attention_figure(
                picture(one.image),
                captions[0].words,
                captions[0].attention.numpy(),
                shape.rows,
                shape.columns,
                captions[0].sentence,
                note=f"{captioner.name}, word by word. A person wrote: {sentence(one.image.captions[0])}",
                boxes=one.image.boxes,
            ),
        )


def sentence(caption: str) -> str:
    """A caption as printed: a capital, a full stop, and no space before punctuation (as tokenised datasets have)."""
    text = re.sub(r"\s+([.,;:!?]|'s\b)", r"\1", caption.strip())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")


def _evaluated(path: Path, manifest: Manifest, model: str) -> tuple[str, list[Evaluated]]:
    """The metric that images are ranked by, and every test image with the model's caption and score."""
    if not path.exists():
        raise MissingFile(f"{path} is missing: run `dvc repro evaluate`")
    models = json.loads(path.read_text(encoding="utf-8"))["models"]
    if model not in models:
        raise UserError(f"{path} has captions of {', '.join(models)}, not of {model}: run `dvc repro evaluate`")
    entries = models[model]["test_images"]
    rows = manifest.rows("test")
    if [entry["filename"] for entry in entries] != [manifest.images[row].filename for row in rows]:
        raise UserError(f"{path} is of other images than the manifest's test split: run `dvc repro evaluate`")
    scores = [_flat(entry["evaluation_metrics"]) for entry in entries]
    # evaluate.metrics may leave CIDEr out; the figures say which metric they rank by.
    metric = "CIDEr" if "CIDEr" in scores[0] else next(reversed(scores[0]))
    return metric, [
        Evaluated(row, manifest.images[row], entry["generated_caption"], score[metric])
        for row, entry, score in zip(rows, entries, scores, strict=True)
    ]


def _flat(figures: Mapping[str, Any]) -> dict[str, float]:
    """Metric -> figure, with BLEU's four beside the others."""
    others = {name: value for name, value in figures.items() if name != "BLEU_scores"}
    return {**figures.get("BLEU_scores", {}), **others}
