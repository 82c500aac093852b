"""Who speaks on the page is who was evaluated, as it was evaluated."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.app.speakers import Speakers
from src.files import write_json
from src.models.baseline import Baseline
from src.places import Places


def test_blip_is_named_and_asked_as_it_was_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(Baseline, "load", lambda places, settings, device: settings)
    places = Places.below(tmp_path)
    places.baseline.mkdir(parents=True)
    write_json(places.baseline_report, {"checkpoint": "hub/evaluated"})
    write_json(places.parameters, {"baseline": {"checkpoint": "hub/evaluated", "prompt": "a picture of"}})
    today = tmp_path / "params.yaml"
    for checkpoint in ("hub/another", "none"):
        today.write_text(f"baseline: {{checkpoint: {checkpoint}, prompt: a drawing of}}", encoding="utf-8")

        (speaker,) = Speakers(places, parameters=today).now().speakers

        assert (speaker.name, speaker.origin) == ("BLIP", "hub/evaluated")
        assert (speaker.model.checkpoint, speaker.model.prompt) == ("hub/evaluated", "a picture of")


def test_a_damaged_report_costs_the_page_blip_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    places = Places.below(tmp_path)
    places.baseline_report.parent.mkdir()
    for text in ("<<<<<<< HEAD", "{}", "[]"):
        places.baseline_report.write_text(text, encoding="utf-8")
        [note] = Speakers(places).now().notes
        assert "baseline.json is damaged" in note
