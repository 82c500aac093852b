"""All figures of a pipeline run: drawn from the files that earlier stages left, kept as PNG and with the MLflow run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from src import tracking
from src.config import Settings
from src.contenders import BASELINE
from src.data.images import ImageBytes
from src.data.manifest import Manifest
from src.data.sentence import sentence
from src.data.tokens import words
from src.encoders.cache import Embeddings
from src.errors import MissingFile
from src.files import write_json
from src.models.captioner import Captioner
from src.places import Places
from src.training.report import read_report
from src.visualize.attention import attention_figure
from src.visualize.beside import beside_figure
from src.visualize.curves import curves_figure, read_curves
from src.visualize.evaluated import read_evaluation
from src.visualize.heat import Look
from src.visualize.language import language_figure
from src.visualize.material import Material
from src.visualize.pointing import Example, examples, pointing_figure
from src.visualize.resources import resources_figure
from src.visualize.scores import scores_figure
from src.visualize.sheet import BEST, COLUMNS, LOT, Tile, choose, sheet_figure
from src.visualize.space import space, space_figures
from src.visualize.style import save

ATTENTION_EACH = 3
"""Images whose attention is drawn, of the best and of those drawn by lot."""
MOST_POINTED = 500
"""Images with boxes on which attention is counted: all of the sample's test images, by far."""

TOLD = (
    "neighbour_overlap",
    "same_image_nearest",
    "silhouette_images_by_images",
    "silhouette_captions_by_captions",
)
"""What the MLflow run is told of the embedding space; the rest is in reports/space.json."""

Ask = Callable[[Mapping[str, Any]], Captioner | None]
"""From the origin of an evaluated model to the model; None where it cannot be had."""
Named = tuple[str, Figure]


def nobody(origin: Mapping[str, Any]) -> None:
    """An `Ask` that has no model but the trained one."""


def draw(settings: Settings, places: Places, ask: Ask = nobody) -> list[Path]:
    """Draw every figure of the trained model, replace those of an earlier run, and add them to its MLflow run.

    How far alike images and captions lie together goes to reports/space.json (nothing, where there are too few images
    for a map) and to the run's figures.

    Args:
        ask: gives the other cell's model, to draw its attention beside the trained one's.

    Returns:
        The files, the contact sheet first.

    Raises:
        UserError: an input is missing, or is of another model or other images than the rest.
    """
    manifest = Manifest.load(places.dataset)
    embeddings = Embeddings.open(places.embeddings, manifest, settings.embed)
    captioner = Captioner.load(places.model, with_encoder=False)
    training = read_report(places.training, captioner)
    metric, evaluated = read_evaluation(places.evaluation, manifest, captioner.name)
    others = [ask(one.origin) for name, one in evaluated.items() if name not in (captioner.name, BASELINE)]
    material = Material(
        settings,
        manifest,
        embeddings,
        [captioner, *(other for other in others if other is not None)],
        metric,
        evaluated,
        ImageBytes(settings.dataset.root),
    )
    found = space(settings, manifest, embeddings)
    mapped = space_figures(found, material.picture, embeddings.provenance.encoder, settings.seed) if found else ()
    paths = []
    for name, figure in chain(
        of_captions(material, places), of_training(material, places, training["run_id"]), of_attention(material), mapped
    ):
        paths.append(places.figures / f"{name}.png")
        save(figure, paths[-1])
    for former in set(places.figures.glob("*.png")) - set(paths):
        former.unlink()
    measured = dict(found.figures) if found else {}
    write_json(places.space, measured)
    run = tracking.attach(training["run_id"], name=captioner.name, settings=settings)
    run.summary({f"space_{name}": measured[name] for name in TOLD if name in measured})
    for path in paths:
        run.artifact(path, "figures")
    return paths


def of_captions(material: Material, places: Places) -> Iterator[Named]:
    """What models say: the contact sheet, their metrics, their language."""
    evaluated, own = material.evaluated, material.own
    chosen = choose(evaluated[own].scores, COLUMNS, material.settings.seed)

    def tile(position: int) -> Tile:
        record = material.record(position)
        said = {model: sentence(one.captions[position]) for model, one in evaluated.items()}
        return Tile(
            material.picture(record),
            said.pop(own),
            sentence(record.captions[0]),
            evaluated[own].scores[position],
            said,
        )

    tiles = {kind: [tile(position) for position in positions] for kind, positions in chosen.items()}
    yield "captions", sheet_figure(tiles, own, material.metric)
    if not places.comparison.exists():
        raise MissingFile(f"{places.comparison} is missing: run `dvc repro evaluate`")
    compared = json.loads(places.comparison.read_text(encoding="utf-8"))
    # As tables have them, not the trained one first.
    models = {model: evaluated[model].figures for model in compared["intervals"] if model in evaluated}
    yield "metrics", scores_figure(models, compared)
    said = {model: [words(caption) for caption in one.captions] for model, one in evaluated.items()}
    people = [caption for image in material.manifest.split("test") for caption in image.words]
    yield "language", language_figure(said, people)


def of_training(material: Material, places: Places, run_id: str) -> Iterator[Named]:
    """How the model came about: curves with the controller's decisions, and what it took."""
    curves = read_curves(places.curves)
    yield "training", curves_figure(curves, material.own, tracking.events(run_id))
    if "seconds" in curves:
        yield "resources", resources_figure(curves, material.own)


def of_attention(material: Material) -> Iterator[Named]:
    """Where models look: in named images, in the best, in some drawn by lot; and where there are boxes, how often in
    the right one."""
    settings = material.settings
    chosen = choose(material.evaluated[material.own].scores, COLUMNS, settings.seed)
    shown = {
        f"attention-{name}-{number}": position
        for name, positions in (
            ("chosen", material.named(settings.visualize.images)),
            ("best", chosen.get(BEST, [])[:ATTENTION_EACH]),
            ("lot", chosen.get(LOT, [])[:ATTENTION_EACH]),
        )
        for number, position in enumerate(positions, start=1)
    }
    looks = [material.looks(captioner, list(shown.values())) for captioner in material.captioners]
    for place, (name, position) in enumerate(shown.items()):
        yield name, _attention(material, position, [of_model[place] for of_model in looks])
    boxed = [place for place, image in enumerate(material.manifest.split("test")) if image.boxes][:MOST_POINTED]
    if boxed:
        yield from _pointing(material, boxed)


def _attention(material: Material, position: int, looks: list[Look]) -> Figure:
    record = material.record(position)
    picture, reference = material.picture(record), sentence(record.captions[0])
    if len(looks) > 1:
        return beside_figure(picture, looks, reference, boxes=record.boxes)
    (look,) = looks
    note = f"{look.model}, word by word. A person wrote: {reference}"
    return attention_figure(
        picture, look.words, look.attention, look.rows, look.columns, look.sentence, note=note, boxes=record.boxes
    )


def _pointing(material: Material, boxed: list[int]) -> Iterator[Named]:
    boxes = [material.record(position).boxes for position in boxed]
    looks = {captioner.name: material.looks(captioner, boxed) for captioner in material.captioners}
    points = {
        model: [point for look, of_image in zip(said, boxes, strict=True) for point in look.points(of_image)]
        for model, said in looks.items()
    }
    points = {model: found for model, found in points.items() if found}
    if not points:
        return
    model = next(iter(points))
    shown = [
        Example(material.picture(material.record(boxed[place])), looks[model][place], word, boxes[place])
        for place, word in examples(looks[model], boxes, material.settings.seed)
    ]
    yield "pointing", pointing_figure(points, shown)
