"""The test split, read once: a trained model's captions, their scores, and the files that hold both."""

from __future__ import annotations

import json
from typing import Any

import torch
from tqdm import tqdm

from src import tracking
from src.config import Settings
from src.data.manifest import Manifest
from src.decoding.images import describe_images
from src.decoding.rerank import reranked
from src.encoders.cache import GRIDS_FILE, Embeddings
from src.errors import UserError
from src.metrics.evaluation import evaluate as score
from src.metrics.report import EvaluatedImage, EvaluatedModel, print_table, write_evaluation
from src.models.baseline import Baseline
from src.models.captioner import Captioner
from src.places import Places
from src.processes import Group

EXAMPLES = 50


def evaluate(settings: Settings, places: Places, group: Group) -> None:
    """Caption the test split with the trained model, score it, print the table, and add the figures to its MLflow run.

    Raises:
        UserError: an input is missing, or the model was trained on other grids than the cache holds.
    """
    manifest = Manifest.load(places.dataset)
    embeddings = Embeddings.open(places.embeddings, manifest, settings.embed)
    captioner = Captioner.load(places.model, with_encoder=False).to(group.device)
    rows = manifest.rows("test")
    judge = Baseline.load(places, settings.baseline, group.device) if settings.decode.rerank == "baseline" else None
    texts = caption_rows(captioner, embeddings, manifest, rows, settings, group, judge)
    captions = dict(zip(rows, texts, strict=True))
    if group.is_main:
        images = {
            manifest.images[row].name: EvaluatedImage(
                manifest.images[row].filename,
                f"{(places.embeddings / GRIDS_FILE).as_posix()}[{row}]",
                manifest.images[row].captions,
            )
            for row in rows
        }
        said = {manifest.images[row].name: caption for row, caption in captions.items()}
        references = {name: image.actual_captions for name, image in images.items()}
        scores = score(
            references, said, settings.evaluate.metrics, settings.evaluate.glove, settings.evaluate.java_timeout
        )
        model = EvaluatedModel(said, scores)
        write_evaluation({captioner.name: model}, images, places.evaluation, places.scores)
        _record(captioner, model, settings, places)
        print_table({captioner.name: scores.overall})
    group.barrier()


def caption_rows(
    captioner: Captioner,
    embeddings: Embeddings,
    manifest: Manifest,
    rows: list[int],
    settings: Settings,
    group: Group,
    judge: Baseline | None = None,
) -> list[str]:
    """The best caption of each row, in the order of `rows`; every process captions its share and gets all of them.

    Args:
        judge: has a say in which of the beam's hypotheses is the best one.
    """
    captioner.decoder.eval()
    own = rows[group.rank :: group.size]
    with torch.inference_mode():
        found = describe_images(captioner, embeddings, manifest, own, settings)
        if judge is not None:
            images = [manifest.images[row] for row in own]
            found = reranked(found, images, settings.dataset.root, judge, settings.decode)
        bar = tqdm(found, total=len(own), desc=f"caption ({captioner.name})", unit="img", disable=not group.is_main)
        mine = [captions[0].text for captions in bar]
    texts = [""] * len(rows)
    for rank, part in enumerate(group.gather(mine)):
        texts[rank :: group.size] = part
    return texts


def _record(captioner: Captioner, model: EvaluatedModel, settings: Settings, places: Places) -> None:
    training: dict[str, Any] = json.loads(places.training.read_text(encoding="utf-8"))
    if training["digest"] != captioner.digest():
        raise UserError(f"{places.training} describes another model than {places.model} holds: run `dvc repro train`")
    run = tracking.attach(training["run_id"], name=captioner.name, settings=settings)
    run.summary({f"test_{name}": value for name, value in model.scores.overall.items()})
    run.artifact(places.scores, "evaluation")
    run.artifact(places.evaluation, "evaluation")
    rows: list[dict[str, object]] = [
        {
            "image": name,
            captioner.name: model.captions[name],
            **{key: round(value, 4) for key, value in figures.items()},
        }
        for name, figures in list(model.scores.per_image.items())[:EXAMPLES]
    ]
    run.table(rows, "test_examples.json")
