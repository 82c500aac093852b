"""The baseline's captions join those of training images, and of no others."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import tiny
import torch
from coloured import Coloured

from src.data import distilled
from src.distill import chosen, distill
from src.errors import UserError
from src.files import write_json
from src.models.baseline import Baseline
from src.places import Places


def test_without_a_share_no_model_is_asked_for(colours: Coloured, tmp_path):
    places = colours.places_in(tmp_path)
    distill(colours.settings, places, tmp_path / "resume", tiny.ALONE)
    assert distilled.read(places.distilled) == {}


def with_baseline(colours: Coloured, folder: Path) -> Places:
    places = colours.places_in(folder)
    torch.manual_seed(0)
    baseline = colours.baseline()
    baseline.save(places.baseline / "model")
    write_json(places.baseline_report, {"digest": baseline.digest(), "checkpoint": "tiny"})
    return places


def test_a_share_of_the_training_images_is_captioned(colours: Coloured, tmp_path):
    places = with_baseline(colours, tmp_path)
    distill(colours.changed("train", distill=0.5), places, tmp_path / "resume", tiny.ALONE)
    found = json.loads(places.distilled.read_text())
    training = {image.name for image in colours.manifest.split("train")}
    assert len(found) == 8 and found.keys() <= training
    assert isinstance(Baseline.load(places, colours.settings.baseline, torch.device("cpu")), Baseline)


def test_captions_that_could_not_be_written_down_are_not_made_again(colours: Coloured, tmp_path, monkeypatch):
    places, settings = with_baseline(colours, tmp_path), colours.changed("train", distill=0.5)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def again(*_):
        raise AssertionError("all has been said before")

    with monkeypatch.context() as disk, pytest.raises(OSError, match="No space left"):
        disk.setattr("src.distill.write_json", full)
        distill(settings, places, tmp_path / "resume", tiny.ALONE)
    monkeypatch.setattr(Baseline, "caption", again)
    distill(settings, places, tmp_path / "resume", tiny.ALONE)
    assert len(distilled.read(places.distilled)) == 8
    assert not list((tmp_path / "resume").glob("*/state-*"))


def test_a_larger_share_holds_the_smaller_one(colours: Coloured):
    few, many = ({image.name for image in chosen(colours.manifest, share, 1)} for share in (0.25, 0.75))
    assert len(few) == 4 and len(many) == 12 and few < many


def test_captions_are_added_to_training_images_alone(colours: Coloured):
    train, val = colours.manifest.split("train")[0], colours.manifest.split("val")[0]
    taught = distilled.joined(colours.manifest, {train.name: "A green dog.", val.name: "never seen"})
    first = taught.split("train")[0]
    assert first.words == (*train.words, ("a", "green", "dog"))
    assert taught.split("train")[1:] == colours.manifest.split("train")[1:]
    assert taught.split("val") == colours.manifest.split("val")
    assert taught.digest != colours.manifest.digest


def test_no_captions_leave_the_manifest_as_it_is(colours: Coloured):
    assert distilled.joined(colours.manifest, {}) is colours.manifest


def test_captions_that_are_missing_say_how_to_make_them(tmp_path):
    with pytest.raises(UserError, match="dvc repro distill"):
        distilled.read(tmp_path / "captions.json")
