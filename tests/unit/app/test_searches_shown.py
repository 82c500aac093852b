"""Searches for better parameters."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import optuna
import pytest

from src.app.progress_view import search_view
from src.app.trials import Studies, StudyRow, TrialRow
from src.errors import UserError
from src.places import search_folder
from src.tune.journal import open_journal
from src.tune.study import JOURNAL


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    return tmp_path


def study(name: str) -> optuna.Study:
    """That of this name, begun where there is none yet."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_journal(search_folder() / JOURNAL)
    return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)


def trial(number: int, state: str, value: float | None) -> TrialRow:
    return TrialRow(number, state, value, 3, {"model.rnn": "gru", "train.learning_rate": 0.001})


def test_the_best_is_a_complete_trial_and_the_best_so_far_never_falls() -> None:
    search = StudyRow(
        "s", (trial(0, "complete", 0.3), trial(1, "pruned", 0.9), trial(2, "complete", 0.2), trial(3, "complete", 0.4))
    )
    assert search.best == search.trials[3]
    assert search.best_so_far() == [(0, 0.3), (2, 0.3), (3, 0.4)]


def test_a_search_is_followed_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.app.trials.FRESH_SECONDS", 0.0)
    studies = Studies()
    assert studies.now() == ()
    search = study("captionlab-search")
    search.ask().report(0.25, 1)
    [found] = studies.now()
    assert [(one.state, one.value, one.epochs) for one in found.trials] == [("running", 0.25, 1)]
    search.tell(0, 0.5)
    assert studies.now()[0].best == TrialRow(0, "complete", 0.5, 1, {})


def test_the_search_whose_trial_began_last_comes_first_whichever_was_begun_last() -> None:
    for name in ("captionlab-a", "captionlab-b", "captionlab-a"):
        search = study(name)
        search.tell(search.ask(), 0.5)
    assert [one.name for one in Studies().now()] == ["captionlab-a", "captionlab-b"]


def test_a_search_at_work_comes_before_one_that_has_ended_since_unless_its_worker_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study("captionlab-at-work").ask()
    ended = study("captionlab-ended")
    ended.tell(ended.ask(), 0.5)
    monkeypatch.setattr("src.app.trials.LEASE_SECONDS", math.inf)
    assert [one.name for one in Studies().now()] == ["captionlab-at-work", "captionlab-ended"]
    monkeypatch.setattr("src.app.trials.LEASE_SECONDS", 0.0)
    assert [one.name for one in Studies().now()] == ["captionlab-ended", "captionlab-at-work"]


def test_studies_of_others_in_the_same_storage_are_not_shown() -> None:
    study("somebody-elses").ask()
    assert Studies().now() == ()


def test_a_trial_that_reached_nothing_has_its_dot_too() -> None:
    view = search_view([StudyRow("s", (trial(0, "complete", 0.3), trial(1, "pruned", 0.0)))])
    assert '<circle class="cl-pruned"' in view


def test_looking_for_searches_leaves_nothing_behind(root: Path) -> None:
    assert Studies().now() == ()
    assert not (root / "mlruns").exists()


def test_the_view_names_the_best_trial_and_its_command() -> None:
    view = search_view([StudyRow("s", (trial(0, "complete", 0.3),), command="dvc exp run -S model.rnn=gru")])
    assert "The best is trial 0 with validation CIDEr 0.300" in view
    assert "<code>dvc exp run -S model.rnn=gru</code>" in view
    assert "python -m src.tune" in search_view([])


def test_searches_that_were_deleted_meanwhile_are_told_and_new_ones_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.app.trials.FRESH_SECONDS", 0.0)
    study("captionlab-old").ask()
    studies = Studies()
    assert [one.name for one in studies.now()] == ["captionlab-old"]
    shutil.rmtree(search_folder())
    with pytest.raises(UserError, match="the searches cannot be read"):
        studies.now()
    study("captionlab-new").ask()
    assert [one.name for one in studies.now()] == ["captionlab-new"]
