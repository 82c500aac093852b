"""Who speaks on the page is who was evaluated, as it was evaluated."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.app.speakers import NOBODY, Cast, Speakers
from src.errors import UserError
from src.files import write_json
from src.models.baseline import Baseline
from src.models.captioner import CONFIG_FILE
from src.places import Places
from src.registry.versions import CHAMPION, Version
from src.store import StoreError


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


class Hiccup:
    """A registry of one LSTM, as long as nothing is wrong with it."""

    def __init__(self) -> None:
        self.wrong: Exception | None = None
        self.number = 1
        self.loaded: list[str] = []

    def versions(self) -> list[Version]:
        if self.wrong:
            raise self.wrong
        tags, now = {"val_CIDEr": "0.5"}, datetime.now(UTC)
        return [Version(self.number, "LSTM", str(self.number), "data", "run", tags, frozenset({CHAMPION}), now)]

    def captioner(self, reference: str) -> SimpleNamespace:
        self.loaded.append(reference)
        captioner = SimpleNamespace(name="LSTM", to=lambda device: captioner, ready=lambda: captioner)
        return captioner


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Hiccup:
    registry = Hiccup()
    monkeypatch.setattr("src.registry.versions.Registry", lambda: registry)
    monkeypatch.setattr("src.app.speakers.LOOK_SECONDS", 0.0)
    return registry


@pytest.fixture
def speakers(registry: Hiccup, tmp_path: Path) -> Speakers:
    (tmp_path / "params.yaml").write_text("seed: 0")
    return Speakers(Places.below(tmp_path), parameters=tmp_path / "params.yaml")


def origins(cast: Cast) -> list[str]:
    return [speaker.origin for speaker in cast.speakers]


@pytest.mark.parametrize("wrong", [StoreError("the server does not answer"), ConnectionError("a secret")])
def test_a_registry_that_cannot_be_read_for_a_while_costs_nobody_the_models(
    wrong: Exception, registry: Hiccup, speakers: Speakers
) -> None:
    assert speakers.now().first.origin == "version 1"
    registry.wrong = wrong

    for _ in range(2):
        cast = speakers.now()
        assert origins(cast) == ["version 1"]
        [note] = cast.notes
        assert note.startswith("The registry cannot be read") and "secret" not in note

    registry.wrong = None
    assert speakers.now().notes == ()
    assert registry.loaded == ["1"]
    registry.number = 2
    assert origins(speakers.now()) == ["version 2"]


def test_where_no_model_could_be_looked_for_nobody_says_that_none_is_trained(
    registry: Hiccup, speakers: Speakers
) -> None:
    registry.wrong = StoreError("the server does not answer")
    with pytest.raises(UserError, match="The registry cannot be read: the server does not answer") as error:
        _ = speakers.now().first
    assert NOBODY not in str(error.value)
    with pytest.raises(UserError, match="No model is trained yet"):
        _ = Cast().first


def test_the_model_of_the_last_run_stands_in_until_one_is_registered(
    registry: Hiccup, speakers: Speakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(speakers.places.model / CONFIG_FILE, {})
    monkeypatch.setattr("src.app.speakers.opened", lambda folder, places: registry.captioner(folder.name))
    registered = registry.versions
    monkeypatch.setattr(registry, "versions", list)
    for _ in range(2):
        assert origins(speakers.now()) == ["not evaluated yet"]
    monkeypatch.setattr(registry, "versions", registered)
    assert origins(speakers.now()) == ["version 1"]
    assert registry.loaded == ["model", "1"]


def test_a_model_that_could_not_be_fetched_is_asked_for_again(
    registry: Hiccup, speakers: Speakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = registry.captioner
    monkeypatch.setattr(registry, "captioner", lambda reference: fetched("nothing").missing)
    assert speakers.now().notes == ("LSTM cannot be loaded: AttributeError.",)
    monkeypatch.setattr(registry, "captioner", fetched)
    assert origins(speakers.now()) == ["version 1"]


def test_while_one_visitor_looks_for_models_the_others_go_on_with_those_there_are(
    registry: Hiccup, speakers: Speakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    speakers.now()
    registry.number = 2
    looking, go_on = threading.Event(), threading.Event()
    fetched = registry.captioner

    def slowly(reference: str) -> SimpleNamespace:
        looking.set()
        go_on.wait()
        return fetched(reference)

    monkeypatch.setattr(registry, "captioner", slowly)
    with ThreadPoolExecutor() as pool:
        try:
            looker = pool.submit(speakers.now)
            looking.wait()
            assert origins(pool.submit(speakers.now).result(timeout=60)) == ["version 1"]
        finally:
            go_on.set()
        assert origins(looker.result()) == ["version 2"]


def test_all_wait_for_the_first_models_which_are_loaded_once(
    registry: Hiccup, speakers: Speakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.app.speakers.LOOK_SECONDS", 3600.0)
    together = threading.Barrier(4)

    def visit() -> list[str]:
        together.wait()
        return origins(speakers.now())

    with ThreadPoolExecutor(4) as pool:
        visitors = [pool.submit(visit) for _ in range(4)]
        assert [visitor.result() for visitor in visitors] == [["version 1"]] * 4
    assert registry.loaded == ["1"]
