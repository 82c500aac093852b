"""The stage `baseline`: every image captioned once, whatever happens, and a report that says by what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from coloured import Coloured, Tracking
from tiny_checkpoints import checkpoint, qwen2_vl

from src import tracking
from src.baseline import caption
from src.config import Settings
from src.contenders import baseline
from src.errors import UserError
from src.models.baseline import Baseline
from src.places import Places
from src.processes import Group


@pytest.fixture
def recorded(monkeypatch) -> Tracking:
    recorded = Tracking()
    monkeypatch.setattr(tracking, "run", recorded.run)
    return recorded


@pytest.fixture
def places(colours: Coloured, tmp_path) -> Places:
    return colours.places_in(tmp_path)


def telling(colours: Coloured) -> Baseline:
    """A small BLIP whose weights are larger than usual, so that what is said hangs on what is seen."""
    torch.manual_seed(3)
    baseline = colours.baseline()
    with torch.no_grad():
        for parameter in baseline.model.parameters():
            parameter *= 4
    assert len(set(baseline.ready(torch.device("cpu")).caption(colours.pictures("test")))) > 1
    return baseline


@pytest.fixture
def published(colours: Coloured, tmp_path) -> Settings:
    """A checkpoint in a folder, to be used as it is."""
    telling(colours).save(tmp_path / "published")
    return colours.changed(checkpoint=str(tmp_path / "published"), finetune_epochs=None)


def captions(places: Places) -> Any:
    return json.loads((places.baseline / "captions.json").read_text())


def report(places: Places) -> Any:
    return json.loads(places.baseline_report.read_text())


def left(resume: Path) -> list[Path]:
    return [path for path in resume.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_small_blip_leaves_captions_its_model_and_a_report(colours: Coloured, places, recorded, tmp_path):
    caption(colours.settings, places, tmp_path / "resume", tiny.ALONE)
    found = captions(places)
    for split in ("val", "test"):
        assert list(found[split]) == [image.name for image in colours.manifest.split(split)]
    told = report(places)
    assert (told["model"], told["checkpoint"], told["finetuned_on"]) == ("BLIP", "tiny", "sample")
    assert (told["finetune_epochs"], told["run_id"]) == (2, "run-1")
    assert sorted(recorded.recorded.rows) == [1, 2]
    again = Baseline.load(places, colours.settings.baseline, torch.device("cpu"))
    assert again.parameters == told["parameters"]
    assert again.caption(colours.pictures("test")) == list(found["test"].values())
    assert not left(tmp_path / "resume")


def test_an_unmodified_checkpoint_is_named_and_not_copied(published, places, recorded, tmp_path):
    (places.baseline / "model").mkdir(parents=True)
    for name in ("model/model.safetensors", "absent.json"):
        (places.baseline / name).write_text("of another checkpoint")
    caption(published, places, tmp_path / "resume", tiny.ALONE)
    told = report(places)
    assert (told["checkpoint"], told["finetuned_on"]) == (published.baseline.checkpoint, None)
    assert [path.name for path in places.baseline.iterdir()] == ["captions.json"]
    assert Baseline.load(places, published.baseline, torch.device("cpu")).digest()


def test_a_model_that_follows_instructions_is_asked_by_prompt(colours: Coloured, places, recorded, tmp_path):
    folder = checkpoint(qwen2_vl, tmp_path / "instructed", scale=4.0)
    settings = colours.changed(checkpoint=str(folder), finetune_epochs=None, prompt="a dog")
    caption(settings, places, tmp_path / "resume", tiny.ALONE)
    found = captions(places)
    asked = Baseline.open(settings.baseline).ready(torch.device("cpu"))
    assert list(found["test"].values()) == asked.caption(colours.pictures("test"))
    assert not any("<" in said for split in found.values() for said in split.values())
    assert (report(places)["checkpoint"], report(places)["architecture"]) == (str(folder), "qwen2_vl")


def test_what_decides_its_captions_names_a_baseline_and_their_pace_does_not(published, colours, recorded, tmp_path):
    checkpoint = published.baseline.checkpoint

    def identity(**changes: Any) -> str:
        places = colours.places_in(tmp_path / "_".join(["", *changes]))
        caption(colours.changed(checkpoint=checkpoint, finetune_epochs=None, **changes), places, tmp_path, tiny.ALONE)
        return report(places)["identity"]

    usual = identity()
    others = [identity(prompt="a red"), identity(beam_size=1), identity(max_words=3), identity(precision="bf16")]
    assert len({usual, *others}) == 5
    assert identity(batch_images=1, workers=2) == usual


class StopAt:
    """Somebody asks the run to stop while the n-th batch is captioned."""

    def __init__(self, monkeypatch, batches: int) -> None:
        original, self.left = Baseline.caption, batches

        def counted(baseline: Baseline, images: Any) -> list[str]:
            self.left -= 1
            if not self.left:
                raise SystemExit(137)
            return original(baseline, images)

        monkeypatch.setattr(Baseline, "caption", counted)
        monkeypatch.setattr("src.captioning.SAVE_SECONDS", 0.0)


@pytest.mark.parametrize("trained", [True, False])
def test_killed_while_it_captions_it_goes_on_in_the_same_run(
    colours: Coloured, published, places, recorded, tmp_path, monkeypatch, trained
):
    settings = colours.settings if trained else published
    whole = colours.places_in(tmp_path / "whole")
    caption(settings, whole, tmp_path / "other", tiny.ALONE)
    with monkeypatch.context() as killing, pytest.raises(SystemExit):
        StopAt(killing, 3)
        caption(settings, places, tmp_path / "resume", tiny.ALONE)
    assert left(tmp_path / "resume")
    said: list[int] = []
    original = Baseline.caption
    monkeypatch.setattr(Baseline, "caption", lambda own, images: said.append(len(images)) or original(own, images))
    caption(settings, places, tmp_path / "resume", tiny.ALONE)
    assert sum(said) == 9 - 2 * 2  # four had captions
    assert captions(places) == captions(whole)
    assert report(places)["digest"] == report(whole)["digest"]
    assert recorded.resumed == [None, None, "run-1"]
    assert not left(tmp_path / "resume")


def test_pictures_too_many_for_the_memory_are_captioned_in_parts(
    published, places, recorded, colours: Coloured, tmp_path, monkeypatch, capsys
):
    caption(published, places, tmp_path / "resume", tiny.ALONE)
    expected, original = captions(places), Baseline.caption

    def limited(own: Baseline, images: Any) -> list[str]:
        if len(images) > room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(own, images)

    monkeypatch.setattr(Baseline, "caption", limited)
    room, other = 1, colours.places_in(tmp_path / "other")
    caption(published, other, tmp_path / "resume", tiny.ALONE)
    assert captions(other) == expected
    assert "GPU memory ran out: 1 images at once instead of 2" in capsys.readouterr().out
    room = 0
    with pytest.raises(UserError, match=r"one image is too much .* baseline\.precision=bf16"):
        caption(published, other, tmp_path / "resume", tiny.ALONE)


def captioned(group: Group, settings: Settings, folder: Path, colours: Coloured) -> int:
    """How many images this process captioned."""
    torch.set_num_threads(1)
    original, own, run = Baseline.caption, list[int](), tracking.run
    Baseline.caption = lambda self, images: own.append(len(images)) or original(self, images)  # type: ignore
    tracking.run = Tracking().run  # type: ignore[assignment]
    try:
        caption(settings, colours.places_in(folder), folder / "resume", group)
    finally:
        Baseline.caption, tracking.run = original, run  # type: ignore[method-assign]
    return sum(own)


def test_two_processes_caption_each_image_once(ranks, colours: Coloured, published, recorded, places, tmp_path):
    assert sum(ranks(captioned, published, tmp_path / "two", colours)) == 9
    caption(published, places, tmp_path / "resume", tiny.ALONE)
    assert captions(colours.places_in(tmp_path / "two")) == captions(places)


def test_a_checkpoint_that_is_not_to_be_had_leaves_nothing(colours: Coloured, places, recorded, tmp_path, monkeypatch):
    monkeypatch.setattr("src.hub._answers", lambda endpoint: False)
    settings = colours.changed(checkpoint="Salesforce/blip-image-captioning-base", finetune_epochs=0)
    with pytest.raises(UserError, match="Salesforce/blip-image-captioning-base"):
        caption(settings, places, tmp_path / "resume", tiny.ALONE)
    assert not places.baseline_report.exists() and not recorded.resumed


def test_without_a_baseline_that_is_said_and_nobody_is_held_against_it(colours: Coloured, places, recorded, tmp_path):
    settings = colours.changed(checkpoint="none", finetune_epochs=None)
    places.baseline.mkdir(parents=True)
    (places.baseline / "captions.json").write_text("of another checkpoint")
    caption(settings, places, tmp_path / "resume", tiny.ALONE)
    assert report(places) == {"checkpoint": "none"}
    assert baseline(places) is None
    assert [path.name for path in places.baseline.iterdir()] == ["absent.json"]
    with pytest.raises(UserError, match="choose one"):
        Baseline.load(places, settings.baseline, torch.device("cpu"))
