"""The test split, read once: every model's captions of it, their scores side by side, and the files that hold both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from src import tracking
from src.config import Settings
from src.contenders import BASELINE, Contender, baseline, side_by_side
from src.data.manifest import Manifest
from src.data.tokens import words
from src.decoding.describe import Caption
from src.decoding.images import describe_images
from src.decoding.rerank import reranked
from src.encoders.cache import GRIDS_FILE, Embeddings
from src.files import write_json
from src.metrics.evaluation import evaluate_all
from src.metrics.grounding import ground, shares
from src.metrics.phrasing import phrasing
from src.metrics.report import EvaluatedImage, EvaluatedModel, write_evaluation
from src.metrics.significance import compare
from src.metrics.table import print_table
from src.models.baseline import Baseline
from src.models.captioner import Captioner
from src.places import Places
from src.processes import Group
from src.training.report import read_report

EXAMPLES = 50


def evaluate(settings: Settings, places: Places, group: Group, rivals: Mapping[str, Contender] | None = None) -> None:
    """Caption the test split with the trained model and score it beside BLIP and the rivals; leave files and a table.

    The figures of the trained model, and BLIP's, are added to the MLflow runs that made them.

    Args:
        rivals: other models by the names they are compared under: the GRU where the LSTM was trained. One of the
            trained model's own name is passed over.

    Raises:
        UserError: an input is missing, the model was trained on other grids than the cache holds, or a contender's
            captions are of other images.
    """
    manifest = Manifest.load(places.dataset)
    embeddings = Embeddings.open(places.embeddings, manifest, settings.embed)
    captioner = Captioner.load(places.model, with_encoder=False).to(group.device)
    training = read_report(places.training, captioner)
    blip = baseline(places)
    rows = manifest.rows("test")
    judge = Baseline.load(places, settings.baseline, group.device) if settings.decode.rerank == "baseline" else None
    described = best_captions(captioner, embeddings, manifest, rows, settings, group, judge)
    if group.is_main:
        origin = {"checkpoint": places.model.as_posix(), "digest": captioner.digest(), "run_id": training["run_id"]}
        texts = {manifest.images[row].name: caption.text for row, caption in zip(rows, described, strict=True)}
        contenders = dict(rivals or {}) | ({BASELINE: blip} if blip else {})
        contenders[captioner.name] = Contender(texts, origin)
        images = {
            manifest.images[row].name: EvaluatedImage(
                manifest.images[row].filename,
                f"{(places.embeddings / GRIDS_FILE).as_posix()}[{row}]",
                manifest.images[row].captions,
            )
            for row in rows
        }
        looked = {captioner.name: _looks(described, manifest, rows, embeddings)}
        models = _score(side_by_side(contenders, images), images, manifest, looked, settings, group)
        _write(models, images, captioner.name, settings, places)
        _record(training["run_id"], captioner.name, models, settings, places)
        if blip:
            _record(blip.origin["run_id"], BASELINE, models, settings, places)
    group.barrier()


def best_captions(
    captioner: Captioner,
    embeddings: Embeddings,
    manifest: Manifest,
    rows: list[int],
    settings: Settings,
    group: Group,
    judge: Baseline | None = None,
) -> list[Caption]:
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
        mine = [captions[0] for captions in bar]
    shares_of_all = group.gather(mine)
    return [shares_of_all[place % group.size][place // group.size] for place in range(len(rows))]


def _looks(
    described: Sequence[Caption], manifest: Manifest, rows: Sequence[int], embeddings: Embeddings
) -> dict[str, float]:
    """Attention grounding; empty where the dataset has no boxes."""
    grid = embeddings.provenance
    return shares(
        [
            ground(
                caption.words, caption.attention.float().numpy(), manifest.images[row].boxes, grid.rows, grid.columns
            )
            for row, caption in zip(rows, described, strict=True)
        ]
    )


def _score(
    contenders: Mapping[str, Contender],
    images: Mapping[str, EvaluatedImage],
    manifest: Manifest,
    looked: Mapping[str, Mapping[str, float]],
    settings: Settings,
    group: Group,
) -> dict[str, EvaluatedModel]:
    scores = evaluate_all(
        {name: image.actual_captions for name, image in images.items()},
        {name: contender.captions for name, contender in contenders.items()},
        settings.evaluate,
        group.device,
    )
    training = {caption for image in manifest.split("train") for caption in image.words}
    return {
        name: EvaluatedModel(
            contender.captions,
            scores[name],
            contender.origin,
            {**phrasing([words(text) for text in contender.captions.values()], training), **looked.get(name, {})},
        )
        for name, contender in contenders.items()
    }


def _write(
    models: Mapping[str, EvaluatedModel],
    images: Mapping[str, EvaluatedImage],
    own: str,
    settings: Settings,
    places: Places,
) -> None:
    sums = {name: model.scores.sums for name, model in models.items()}
    comparison: dict[str, Any] = {
        **compare(sums, settings.evaluate.resamples, settings.seed).to_json(),
        "origins": {name: dict(model.origin) for name, model in models.items()},
        "metrics": dict(models[own].scores.notes),
    }
    write_evaluation(models, images, places.evaluation, places.scores)
    write_json(places.parameters, settings.model_dump(mode="json", exclude={"promote", "tune"}))
    write_json(places.test, models[own].scores.overall)
    write_json(places.comparison, comparison)
    print_table({name: model.figures for name, model in models.items()}, comparison)


def _record(run_id: str, name: str, models: Mapping[str, EvaluatedModel], settings: Settings, places: Places) -> None:
    """Add a model's figures, the files of the evaluation and some of its captions to the run that made the model."""
    model = models[name]
    run = tracking.attach(run_id, name=name, settings=settings)
    run.summary({f"test_{figure}": value for figure, value in model.figures.items()})
    for path in (places.scores, places.comparison, places.evaluation):
        run.artifact(path, "evaluation")
    rows: list[dict[str, object]] = [
        {"image": image, name: model.captions[image], **{key: round(value, 4) for key, value in figures.items()}}
        for image, figures in list(model.scores.per_image.items())[:EXAMPLES]
    ]
    run.table(rows, "test_examples.json")
