import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file

from src import store, tracking
from src.config import Settings, Visualize
from src.data.manifest import Box, ImageRecord, Location, Manifest
from src.encoders.cache import GRIDS_FILE, INDEX_FILE, PROVENANCE_FILE, WEIGHTS_FILE
from src.encoders.encoder import Provenance, digest
from src.errors import UserError
from src.models.captioner import Captioner
from src.places import Places
from src.visualize import figures
from src.visualize.figures import draw

TESTS = 9
SETTINGS = Settings.model_validate({"embed": {"encoder": "efficientnet_lite0"}, "decode": {"max_words": 5}})
PROVENANCE = Provenance(
    "efficientnet_lite0", digest({"weight": torch.zeros(1)}), "head", 224, (0.5,) * 3, (0.5,) * 3, "squash", "bf16",
    tiny.ROWS, tiny.COLUMNS, tiny.FEATURES,
)  # fmt: skip


@dataclass
class World:
    """What the stages before leave: photographs, manifest, grids, a captioner, its evaluation and its curves."""

    root: Path
    settings: Settings
    places: Places

    def change(self, path: Path, **values: Any) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def photographs(folder: Path) -> Iterator[ImageRecord]:
    folder.mkdir(parents=True)
    for number in range(TESTS + 2):
        name = f"{number:03d}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (30, 40, 3), np.uint8)).save(folder / name)
        split = "test" if number < TESTS else "val"
        location = Location(f"tiny/{name}", 0, (folder / name).stat().st_size)
        yield ImageRecord(f"tiny/{name}", split, location, 40, 30, ("A dog runs .",), (("a", "dog", "runs"),))


COMPARISON = {"images": TESTS, "level": 0.95, "intervals": {"LSTM": {"CIDEr": [0.4, 0.6]}}, "pairs": []}


def evaluation(manifest: Manifest) -> dict[str, Any]:
    return {
        "models": {
            "LSTM": {
                "overall_metrics": {"CIDEr": 0.5},
                "test_images": [
                    {
                        "filename": image.filename,
                        "actual_captions": list(image.captions),
                        "generated_caption": "a dog",
                        "evaluation_metrics": {"BLEU_scores": {"BLEU-1": 0.5}, "CIDEr": number / 4},
                    }
                    for number, image in enumerate(manifest.split("test"))
                ],
            }
        }
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    manifest = Manifest.of(photographs(root / "data" / "tiny"))
    manifest.save(root / "dataset")
    embeddings = root / "embeddings"
    embeddings.mkdir()
    np.save(embeddings / GRIDS_FILE, tiny.grids(len(manifest)))
    (embeddings / INDEX_FILE).write_text(json.dumps([image.name for image in manifest.images]))
    (embeddings / PROVENANCE_FILE).write_text(json.dumps(PROVENANCE.to_json()))
    save_file({"weight": torch.zeros(1)}, embeddings / WEIGHTS_FILE)
    captioner = Captioner(tiny.decoder(), tiny.vocabulary(), PROVENANCE, SETTINGS.decode)
    captioner.save(root / "model", embeddings / WEIGHTS_FILE)
    (root / "train.json").write_text(json.dumps({"run_id": "0" * 32, "digest": captioner.digest()}))
    (root / "curves.csv").write_text("step,train_loss,val_loss,val_CIDEr,learning_rate\n1,4,3,0.2,0.001\n")
    (root / "evaluation.json").write_text(json.dumps(evaluation(manifest)))
    (root / "comparison.json").write_text(json.dumps(COMPARISON))
    return root


@pytest.fixture
def world(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world of one's own, whose run records nothing."""
    root = tmp_path / "world"
    shutil.copytree(made, root)
    monkeypatch.setattr(tracking, "attach", lambda run_id, **_: tracking.Silent())
    monkeypatch.setattr(tracking, "events", lambda run_id: [])
    places = Places(
        dataset=root / "dataset",
        embeddings=root / "embeddings",
        model=root / "model",
        training=root / "train.json",
        curves=root / "curves.csv",
        evaluation=root / "evaluation.json",
        comparison=root / "comparison.json",
        space=root / "space.json",
        figures=root / "figures",
    )
    settings = SETTINGS.model_copy(update={"dataset": SETTINGS.dataset.model_copy(update={"root": root / "data"})})
    return World(root, settings, places)


def test_one_model_is_drawn_with_its_captions_its_training_and_where_it_looks(world: World) -> None:
    drawn = draw(world.settings, world.places)
    assert [path.name for path in drawn] == [
        *("captions.png", "metrics.png", "language.png", "training.png"),
        *(f"attention-{kind}-{number}.png" for kind in ("best", "lot") for number in (1, 2)),
    ]
    assert all(Image.open(path).width == 1320 for path in drawn)


def evaluate_gru(world: World) -> Captioner:
    """Another cell's captions in the evaluation, and the model that they are of."""
    gru = Captioner(tiny.decoder("gru", seed=1), tiny.vocabulary(), PROVENANCE, SETTINGS.decode)
    models = json.loads(world.places.evaluation.read_text())["models"]
    world.change(world.places.evaluation, models=models | {"GRU": models["LSTM"] | {"origin": {"version": 3}}})
    return gru


def titles(figure: Figure) -> set[str]:
    return {text.get_text().partition(":")[0] for text in figure.texts}


def test_the_other_cell_is_asked_by_its_origin_and_looks_beside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gru = evaluate_gru(world)
    asked: list[Any] = []
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.update({path.stem: figure}))

    draw(world.settings, world.places, lambda origin: asked.append(origin) or gru)
    assert asked == [{"version": 3}]
    assert {"LSTM", "GRU"} <= titles(drawn["attention-best-1"])

    draw(world.settings, world.places, lambda origin: None)
    assert "GRU" not in titles(drawn["attention-best-1"])


def test_images_that_are_asked_for_by_name_are_drawn_first(world: World) -> None:
    settings = world.settings.model_copy(update={"visualize": Visualize(images=("004.png",))})
    assert "attention-chosen-1.png" in [path.name for path in draw(settings, world.places)]


def test_an_image_that_is_no_test_image_is_named(world: World) -> None:
    settings = world.settings.model_copy(update={"visualize": Visualize(images=("010.png",))})
    with pytest.raises(UserError, match=r"visualize\.images: 010\.png"):
        draw(settings, world.places)


def test_peaks_are_counted_where_images_have_boxes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere = Box("thing", 0.0, 0.0, 1.0, 1.0, tiny.WORDS)
    boxed = Manifest.of(replace(image, boxes=(everywhere,)) for image in Manifest.load(world.places.dataset).images)
    boxed.save(world.places.dataset)
    assert "pointing.png" in [path.name for path in draw(world.settings, world.places)]


def test_too_few_images_for_a_map_leave_an_empty_report(world: World) -> None:
    draw(world.settings, world.places)
    assert json.loads(world.places.space.read_text()) == {}


def test_the_same_files_are_drawn_as_the_same_bytes(world: World) -> None:
    first = {path: path.read_bytes() for path in draw(world.settings, world.places)}
    assert {path: path.read_bytes() for path in draw(world.settings, world.places)} == first


def test_figures_of_an_earlier_run_do_not_stay(world: World) -> None:
    world.places.figures.mkdir()
    (world.places.figures / "attention-best-99.png").write_bytes(b"old")
    drawn = draw(world.settings, world.places)
    assert sorted(world.places.figures.iterdir()) == sorted(drawn)


def test_the_models_run_carries_the_figures(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("DVC_ROOT", str(world.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracking.run("train", name="LSTM", settings=world.settings) as run:
        pass
    world.change(world.places.training, run_id=run.id)
    drawn = draw(world.settings, world.places)
    carried = store.connect().list_artifacts(run.id, "figures")
    assert sorted(file.path for file in carried) == sorted(f"figures/{path.name}" for path in drawn)


def test_another_models_training_report_is_refused(world: World) -> None:
    world.change(world.places.training, digest="another")
    with pytest.raises(UserError, match=r"train\.json describes another model"):
        draw(world.settings, world.places)


def test_an_evaluation_of_other_images_is_refused(world: World) -> None:
    models = json.loads(world.places.evaluation.read_text())["models"]
    models["LSTM"]["test_images"].pop()
    world.change(world.places.evaluation, models=models)
    with pytest.raises(UserError, match="other images"):
        draw(world.settings, world.places)


def test_an_evaluation_without_the_model_names_those_it_has(world: World) -> None:
    models = json.loads(world.places.evaluation.read_text())["models"]
    world.change(world.places.evaluation, models={"GRU": models["LSTM"]})
    with pytest.raises(UserError, match="captions of GRU, not of LSTM"):
        draw(world.settings, world.places)


def test_a_model_of_other_grids_is_refused(world: World) -> None:
    world.change(world.places.embeddings / PROVENANCE_FILE, weights="1" * 64)
    with pytest.raises(UserError, match="other grids"):
        draw(world.settings, world.places)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("train", "train.json"),
        ("train", "curves.csv"),
        ("evaluate", "evaluation.json"),
        ("evaluate", "comparison.json"),
    ],
)
def test_a_missing_file_names_the_stage_that_leaves_it(world: World, stage: str, name: str) -> None:
    (world.root / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing: run `dvc repro {stage}`"):
        draw(world.settings, world.places)
