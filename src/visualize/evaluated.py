"""The test images as every model captioned them, read from what `evaluate` left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.data.manifest import Manifest
from src.errors import MissingFile, UserError
from src.metrics.report import flat


@dataclass(frozen=True)
class Evaluated:
    """One model's captions of the test images, in the manifest's order.

    Attributes:
        origin: which model it is: checkpoint or version, digest, run.
        captions: one per image.
        scores: of the captions, by the metric that images are ranked by.
        figures: metric -> figure of all captions together.
    """

    origin: Mapping[str, Any]
    captions: Sequence[str]
    scores: Sequence[float]
    figures: Mapping[str, float]


def read_evaluation(path: Path, manifest: Manifest, own: str) -> tuple[str, dict[str, Evaluated]]:
    """The metric that images are ranked by, and the models by name, the trained one first.

    Args:
        own: name of the trained model: LSTM or GRU.

    Raises:
        UserError: the file is missing, lacks that model, or is of other images than the manifest's test split.
    """
    if not path.exists():
        raise MissingFile(f"{path} is missing: run `dvc repro evaluate`")
    models = json.loads(path.read_text(encoding="utf-8"))["models"]
    if own not in models:
        raise UserError(f"{path} has captions of {', '.join(models)}, not of {own}: run `dvc repro evaluate`")
    names = [image.filename for image in manifest.split("test")]
    # evaluate.metrics may leave CIDEr out; the figures say which metric they rank by.
    known = flat(models[own]["test_images"][0]["evaluation_metrics"]) if models[own]["test_images"] else {}
    metric = "CIDEr" if "CIDEr" in known else next(reversed(known), "")
    found = {}
    for name in sorted(models, key=lambda name: name != own):
        entries = models[name]["test_images"]
        if [entry["filename"] for entry in entries] != names:
            raise UserError(f"{path} is of other images than the manifest's test split: run `dvc repro evaluate`")
        found[name] = Evaluated(
            models[name].get("origin", {}),
            [entry["generated_caption"] for entry in entries],
            [flat(entry["evaluation_metrics"])[metric] for entry in entries],
            flat(models[name]["overall_metrics"]),
        )
    return metric, found
