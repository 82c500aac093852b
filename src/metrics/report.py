"""What an evaluation leaves: a small file of figures, a large one with every image, and a table to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

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
    """One model's captions of the test images, and their scores."""

    captions: Mapping[str, str]
    scores: Scores


def write_evaluation(
    models: Mapping[str, EvaluatedModel], images: Mapping[str, EvaluatedImage], details: Path, figures: Path
) -> None:
    """Write both files of an evaluation, whole or not at all.

    Args:
        models: by the names they are compared under: LSTM, GRU, BLIP.
        images: the test images by the keys that captions and scores have; the files keep this order.
        details: usually outputs/evaluation/eval-metrics.json: figures, and each image with each model's caption.
        figures: usually reports/evaluation.json: model -> metric -> figure.

    Raises:
        ValueError: a model's captions or scores are of other images.
    """
    for name, model in models.items():
        for what, keys in (("captions", model.captions.keys()), ("scores", model.scores.per_image.keys())):
            if keys != images.keys():
                odd = sorted(keys ^ images.keys())
                raise ValueError(f"{name}'s {what} and the test images differ in {len(odd)} images, e.g. {odd[0]!r}")
    write_json(details, {"models": {name: _detail(model, images) for name, model in models.items()}})
    write_json(figures, {name: model.scores.overall for name, model in models.items()})


def print_table(models: Mapping[str, Mapping[str, float]], console: Console | None = None) -> None:
    """Show the figures as in reports/evaluation.json, a column per model and the best of each row in bold.

    Metrics are rows, so that eighty columns of text hold several models however many metrics there are.
    """
    table = Table(title="Test split")
    table.add_column("metric")
    for model in models:
        table.add_column(model, justify="right")
    for metric in dict.fromkeys(metric for figures in models.values() for metric in figures):
        row = [figures.get(metric) for figures in models.values()]
        best = max(figure for figure in row if figure is not None)
        table.add_row(metric, *(_cell(figure, bold=len(models) > 1 and figure == best) for figure in row))
    (console or Console()).print(table)


def _cell(figure: float | None, bold: bool) -> str:
    if figure is None:
        return "-"
    return f"[bold]{figure:.3f}[/bold]" if bold else f"{figure:.3f}"


def _detail(model: EvaluatedModel, images: Mapping[str, EvaluatedImage]) -> dict[str, Any]:
    return {
        "overall_metrics": _nested(model.scores.overall),
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
