"""Which runs' curves are shown, and what is said of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from src import tracking
from src.app.progress_view import resources_view, training_view
from src.app.runs import SILENT_SECONDS, TOGETHER, Course, Histories, History, RunRow, chosen
from src.config import Settings, Train
from src.store import StoreError
from src.tracking import EPOCHS_TAG


def row(model: str, status: str = "FINISHED", kind: str = "train", **facts: Any) -> RunRow:
    values = {"val": 0.5, "test": None, "epochs": 4, "event": "", "why": "", "seconds": 60.0} | facts
    return RunRow(f"{model}-{status}", model, kind, model, status, started=datetime(2026, 1, 1, tzinfo=UTC), **values)


def test_runs_that_train_now_are_shown_with_the_latest_finished_one_of_each_other_model() -> None:
    rows = [row("LSTM", "RUNNING"), row("LSTM"), row("GRU", "FAILED"), row("GRU"), row("BLIP")]
    assert [(one.model, one.status) for one in chosen(rows)] == [
        ("LSTM", "RUNNING"),
        ("GRU", "FINISHED"),
        ("BLIP", "FINISHED"),
    ]


def test_a_search_is_shown_by_its_running_trials_alone_and_never_by_too_many() -> None:
    trials = [row("LSTM", "RUNNING", "trial") for _ in range(TOGETHER + 3)]
    assert len(chosen([*trials, row("GRU")])) == TOGETHER
    assert chosen([row("LSTM", "FINISHED", "trial"), row("LSTM", "RUNNING", "tune")]) == []


def test_a_run_that_was_killed_is_not_said_to_train() -> None:
    curves = {"val_CIDEr": ((1, 0.1), (2, 0.2))}
    alive = History(courses=(Course(row("LSTM", "RUNNING"), curves, silent=5.0),))
    dead = History(courses=(Course(row("LSTM", "RUNNING"), curves, silent=SILENT_SECONDS + 60),))
    assert alive.live
    assert "epoch 2 of 4, training now" in training_view(alive)
    assert not dead.live
    assert "silent for 11 minutes, it may have been killed" in training_view(dead)


def test_of_how_many_epochs_is_the_runs_own_word_and_left_out_where_it_gave_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for model, told in (("LSTM", {EPOCHS_TAG: "15"}), ("GRU", {})):
        with tracking.run("train", name=model, settings=Settings(train=Train(epochs=12)), tags=told) as run:
            run.log(13, {"val_CIDEr": 0.1})
    view = training_view(Histories().now())
    assert "finished after epoch 13 of 15" in view
    assert "finished after epoch 13<" in view


def test_while_nothing_was_trained_the_views_say_how_to_begin() -> None:
    for view in (training_view(History()), resources_view(History())):
        assert "<code>dvc repro</code>" in view


def test_looking_at_a_store_that_is_not_there_does_not_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert Histories().now() == History()
    assert not (tmp_path / "mlruns").exists()


def test_a_store_that_went_away_is_told_and_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(client: object) -> History:
        raise ConnectionError

    opened: list[object] = []
    monkeypatch.setattr("src.store.exists", lambda: True)
    monkeypatch.setattr("src.store.connect", lambda: opened.append(object()) or opened[-1])
    histories = Histories()
    monkeypatch.setattr("src.app.runs._read", gone)
    with pytest.raises(StoreError, match="does not answer any more"):
        histories.now()
    monkeypatch.setattr("src.app.runs._read", lambda client: History())
    assert histories.now() == History()
    assert len(opened) == 2
