"""What an evaluation leaves: a small file of figures, and a large one with every image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.files import write_json
from src.metrics.scores import Scores


@dataclass(frozen=True)
class EvaluatedImage:
    """One image of the test split, the same for every model.

    Attributes:
        filename: as the dataset has it.
        image_embedding: where its grid lies, as text: 'outputs/embeddings/grids.npy[17]'.
        actual_captions: what annotators wrote, as they wrote it.
    """

    filename: str
    image_embedding: str
    actual_captions: Sequence[str]


@dataclass(frozen=True)
class EvaluatedModel:
    """One model's captions of the test images, and their scores.

    Attributes:
        origin: what the model is: checkpoint, digest, run.
        statistics: figures beside the metrics: `src.metrics.phrasing`, `src.metrics.grounding`.
    """

    captions: Mapping[str, str]
    scores: Scores
    origin: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, float] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, float]:
        return self.scores.overall | dict(self.statistics)


def write_evaluation(
    models: Mapping[str, EvaluatedModel], images: Mapping[str, EvaluatedImage], details: Path, figures: Path
) -> None:
    """Write both files of an evaluation, whole or not at all.

    Args:
        models: by the names they are compared under: LSTM, GRU, BLIP.
        images: the test images by the keys that captions and scores have; the files keep this order.
        details: usually outputs/evaluation/eval-metrics.json: figures and origin of each model, each image with its
            caption, and how metrics were measured that have more than their name.
        figures: usually reports/evaluation.json: model -> metric -> figure.

    Raises:
        ValueError: a model's captions or scores are of other images.
    """
    for name, model in models.items():
        for what, keys in (("captions", model.captions.keys()), ("scores", model.scores.per_image.keys())):
            if keys != images.keys():
                odd = sorted(keys ^ images.keys())
                raise ValueError(f"{name}'s {what} and the test images differ in {len(odd)} images, e.g. {odd[0]!r}")
    notes = {metric: note for model in models.values() for metric, note in model.scores.notes.items()}
    write_json(details, {"models": {name: _detail(model, images) for name, model in models.items()}, "metrics": notes})
    write_json(figures, {name: model.figures for name, model in models.items()})


def _detail(model: EvaluatedModel, images: Mapping[str, EvaluatedImage]) -> dict[str, Any]:
    return {
        "origin": dict(model.origin),
        "overall_metrics": _nested(model.figures),
        "test_images": [
            {
                "filename": image.filename,
                "image_embedding": image.image_embedding,
                "actual_captions": list(image.actual_captions),
                "generated_caption": model.captions[key],
                "evaluation_metrics": _nested(model.scores.per_image[key]),
            }
            for key, image in images.items()
        ],
    }


def _nested(figures: Mapping[str, float]) -> dict[str, Any]:
    """The BLEU figures gathered under BLEU_scores, the others beside it."""
    bleu = {name: figure for name, figure in figures.items() if name.startswith("BLEU-")}
    others = {name: figure for name, figure in figures.items() if name not in bleu}
    return {"BLEU_scores": bleu, **others} if bleu else others


def flat(figures: Mapping[str, Any]) -> dict[str, float]:
    """Metric -> figure, as they were before they were written: BLEU's four beside the others."""
    beside = {name: value for name, value in figures.items() if name != "BLEU_scores"}
    return {name: float(value) for name, value in {**figures.get("BLEU_scores", {}), **beside}.items()}
