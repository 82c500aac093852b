"""The evaluation stage holds the trained model, BLIP and rivals side by side on the same images, or says why not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file

from src import tracking
from src.config import Settings
from src.contenders import Contender, side_by_side
from src.data.manifest import Box, ImageRecord, Location, Manifest
from src.encoders.cache import GRIDS_FILE, INDEX_FILE, PROVENANCE_FILE, WEIGHTS_FILE
from src.encoders.encoder import Provenance, digest
from src.errors import MissingFile, UserError
from src.evaluation import evaluate
from src.models.captioner import Captioner
from src.places import Places

TESTS = 5
SETTINGS = Settings.model_validate(
    {"decode": {"max_words": 5}, "evaluate": {"metrics": ["BLEU", "CIDEr", "ROUGE"], "resamples": 100}}
)
PROVENANCE = Provenance(
    "efficientnet_lite0", digest({"weight": torch.zeros(1)}), "head", 224, (0.5,) * 3, (0.5,) * 3, "squash", "bf16",
    tiny.ROWS, tiny.COLUMNS, tiny.FEATURES,
)  # fmt: skip


class Noted(tracking.Silent):
    """A run that keeps its figures."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}

    def summary(self, values: Any) -> None:  # type: ignore[override]
        self.figures |= values


class World:
    """What the stages before evaluate leave, and the runs that figures went to."""

    def __init__(self, root: Path, boxes: tuple[Box, ...] = ()) -> None:
        reports, outputs = root / "reports", root / "outputs"
        self.places = Places(
            **{name: outputs / name for name in ("dataset", "embeddings", "model", "baseline")},
            training=reports / "train.json",
            baseline_report=reports / "baseline.json",
            evaluation=outputs / "evaluation" / "eval-metrics.json",
            parameters=outputs / "evaluation" / "parameters.json",
            scores=reports / "evaluation.json",
            test=reports / "test.json",
            comparison=reports / "comparison.json",
        )
        self.runs: dict[str, Noted] = {}
        for folder in (reports, self.places.embeddings, self.places.baseline):
            folder.mkdir(parents=True)
        self.images = [
            ImageRecord(
                f"tiny/{number}.png", "test" if number < TESTS else "train", Location("none", 0, 1), 8, 8,
                ("A red dog runs on the grass .", f"The dog runs {number} times"), (("a", "red", "dog"),), boxes,
            )
            for number in range(TESTS + 2)
        ]  # fmt: skip
        manifest = Manifest.of(self.images)
        manifest.save(self.places.dataset)
        np.save(self.places.embeddings / GRIDS_FILE, tiny.grids(len(manifest)))
        (self.places.embeddings / INDEX_FILE).write_text(json.dumps([image.name for image in manifest.images]))
        (self.places.embeddings / PROVENANCE_FILE).write_text(json.dumps(PROVENANCE.to_json()))
        save_file({"weight": torch.zeros(1)}, self.places.embeddings / WEIGHTS_FILE)
        self.captioner = Captioner(tiny.decoder(), tiny.vocabulary(), PROVENANCE, SETTINGS.decode)
        self.captioner.save(self.places.model, self.places.embeddings / WEIGHTS_FILE)
        self.places.training.write_text(json.dumps({"run_id": "run-lstm", "digest": self.captioner.digest()}))

    def attach(self, run_id: str, **_: Any) -> Noted:
        return self.runs.setdefault(run_id, Noted())

    def captions(self, text: str = "a red dog runs on the grass") -> dict[str, str]:
        return {image.name: text for image in self.images[:TESTS]}

    def blip(self, test: Any = None, **report: Any) -> None:
        facts = {"checkpoint": "owner/blip", "finetuned_on": None, "digest": "b1", "run_id": "run-blip", "val_CIDEr": 1}
        self.places.baseline_report.write_text(json.dumps(facts | report))
        said = {"val": {}, "test": self.captions() if test is None else test}
        (self.places.baseline / "captions.json").write_text(json.dumps(said))

    def evaluate(self, settings: Settings = SETTINGS, **rivals: Contender) -> None:
        evaluate(settings, self.places, tiny.ALONE, rivals)

    def read(self, place: str) -> Any:
        return json.loads(getattr(self.places, place).read_text())


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    monkeypatch.setattr(tracking, "attach", made.attach)
    return made


def test_lstm_gru_and_blip_stand_side_by_side_in_that_order(world):
    world.blip()
    world.evaluate(GRU=Contender(world.captions("the dog runs"), {"version": "3", "run_id": "run-gru"}))

    scores, details, comparison = (world.read(place) for place in ("scores", "evaluation", "comparison"))
    assert list(scores) == list(details["models"]) == list(comparison["intervals"]) == ["LSTM", "GRU", "BLIP"]
    shown = {name: [image["filename"] for image in model["test_images"]] for name, model in details["models"].items()}
    assert shown["LSTM"] == shown["GRU"] == shown["BLIP"] == [f"{number}.png" for number in range(TESTS)]
    references = {json.dumps(model["test_images"][1]["actual_captions"]) for model in details["models"].values()}
    assert len(references) == 1
    assert details["models"]["BLIP"]["test_images"][0]["generated_caption"] == "a red dog runs on the grass"
    assert scores["BLIP"]["BLEU-4"] == pytest.approx(1)


def test_one_knows_who_spoke(world):
    world.blip()
    world.evaluate(GRU=Contender(world.captions(), {"version": "3", "run_id": "run-gru"}))

    origins = {name: model["origin"] for name, model in world.read("evaluation")["models"].items()}
    assert origins == world.read("comparison")["origins"]
    assert origins["LSTM"]["digest"] == world.captioner.digest() and origins["LSTM"]["run_id"] == "run-lstm"
    assert origins["GRU"] == {"version": "3", "run_id": "run-gru"}
    assert origins["BLIP"] == {"checkpoint": "owner/blip", "finetuned_on": None, "digest": "b1", "run_id": "run-blip"}


def test_the_parameters_of_an_evaluation_are_kept_beside_it(world):
    world.evaluate()

    kept = Settings.model_validate(world.read("parameters"))
    assert kept.evaluate.metrics == ("BLEU", "CIDEr", "ROUGE")
    assert kept.flat() == SETTINGS.flat()


def test_every_pair_is_compared_by_every_metric(world):
    world.blip()
    world.evaluate(GRU=Contender(world.captions("the dog runs"), {}))

    comparison = world.read("comparison")
    assert (comparison["images"], comparison["resamples"], comparison["level"]) == (TESTS, 100, 0.95)
    assert len(comparison["pairs"]) == 3 * 6
    pair = comparison["pairs"][0]
    assert pair.keys() == {"first", "second", "metric", "difference", "low", "high", "p"}
    scores = world.read("scores")
    assert pair["difference"] == pytest.approx(
        scores[pair["first"]][pair["metric"]] - scores[pair["second"]][pair["metric"]]
    )


def test_figures_go_to_the_runs_that_made_the_models(world):
    world.blip()
    world.evaluate(GRU=Contender(world.captions(), {"run_id": "run-gru"}))

    assert world.runs.keys() == {"run-lstm", "run-blip"}
    assert world.runs["run-blip"].figures["test_BLEU-4"] == pytest.approx(1)
    assert world.runs["run-lstm"].figures["test_CIDEr"] == world.read("scores")["LSTM"]["CIDEr"]


def test_the_trained_model_alone_has_intervals_and_shared_keys(world):
    world.evaluate(LSTM=Contender(world.captions(), {"version": "1"}))

    scores = world.read("scores")
    assert list(scores) == ["LSTM"] and world.read("comparison")["pairs"] == []
    assert world.read("evaluation")["models"]["LSTM"]["origin"]["run_id"] == "run-lstm"
    own = world.read("test")
    assert list(own) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr", "ROUGE"]
    assert own.items() <= scores["LSTM"].items()
    assert {"caption_length", "vocabulary_used", "novel_captions", "unique_captions"} == scores["LSTM"].keys() - own


def test_attention_is_held_against_boxes_where_there_are_any(tmp_path, monkeypatch):
    made = World(tmp_path, boxes=(Box("all", 0.0, 0.0, 0.5, 1.0, tiny.WORDS),))
    monkeypatch.setattr(tracking, "attach", made.attach)
    made.blip()
    made.evaluate()

    scores = made.read("scores")
    assert 0 <= scores["LSTM"]["attention_in_box"] <= 1
    assert scores["LSTM"]["attention_in_box_by_chance"] == pytest.approx(2 / 3)  # two columns of three
    assert "attention_in_box" not in scores["BLIP"]


def test_captions_of_another_dataset_are_refused_and_nothing_is_written(world):
    world.blip(test={"other/1.png": "a dog"})
    with pytest.raises(UserError, match=r"BLIP's captions lack 5 of the 5 test images, tiny/0\.png .*repro baseline"):
        world.evaluate()
    assert not world.places.scores.exists()


@pytest.mark.parametrize("test", [["a dog"], {"tiny/0.png": 3}, "a dog"])
def test_a_damaged_baseline_is_one_line(world, test):
    world.blip(test=test)
    with pytest.raises(UserError, match="run `dvc repro baseline`"):
        world.evaluate()


def test_a_baseline_without_its_report_is_named(world):
    world.blip()
    world.places.baseline_report.unlink()
    with pytest.raises(MissingFile, match=r"baseline\.json is missing"):
        world.evaluate()


@pytest.mark.parametrize(
    ("report", "complaint"),
    [
        ('{"run_id": "x", "digest": "other"}', "describes another model"),
        ('{"digest": "other"}', "is damaged"),
        ("{", "is damaged"),
    ],
)
def test_a_training_report_that_is_not_the_models_is_refused(world, report, complaint):
    world.places.training.write_text(report)
    with pytest.raises(UserError, match=f"train.json {complaint}.*run `dvc repro train`"):
        world.evaluate()


@pytest.mark.parametrize(
    ("key", "value", "metric"),
    [("glove", "absent.txt", "semantic_similarity"), ("bertscore_model", "absent/", "BERTScore")],
)
def test_a_missing_resource_is_one_line(world, monkeypatch, key, value, metric):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    changed = SETTINGS.evaluate.model_copy(update={"metrics": (metric,), key: value})
    with pytest.raises(UserError, match=f"evaluate.{key}"):
        world.evaluate(SETTINGS.model_copy(update={"evaluate": changed}))


def test_others_come_last_and_captions_of_other_splits_are_passed_over():
    said = Contender({"a": "x", "b": "y"}, {})
    found = side_by_side({"GRU v2": said, "BLIP": said, "GRU": said}, ["b"])
    assert list(found) == ["GRU", "BLIP", "GRU v2"]
    assert found["GRU"].captions == {"b": "y"}
