"""What came out of a search stands beside what params.yaml itself reached, however that trial ended."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from src.config import Settings
from src.tune.journal import open_journal
from src.tune.outcome import _row, outcome, show
from src.tune.study import Search
from src.tune.suggestions import own, suggest


@pytest.fixture
def search(tmp_path: Path) -> Search:
    """Of two trials: params.yaml's own, not begun, and a complete one that reached 0.6."""
    settings = Settings.model_validate({"tune": {"space": {"model": {"dropout": {"low": 0.1, "high": 0.9}}}}})
    storage = open_journal(tmp_path / "journal.log")
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    search = Search(study, storage, tmp_path, settings, {}, "")
    study.enqueue_trial({"model.dropout": 0.8})
    trial = study.ask()
    suggest(trial, settings)
    study.tell(trial, 0.6)
    study.enqueue_trial(own(settings))
    return search


def end_own(search: Search, state: TrialState, value: float | None) -> None:
    trial = search.study.ask()
    suggest(trial, search.settings)
    if value is not None:
        trial.report(value, 1)
    search.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)


def shown(search: Search) -> list[str]:
    console = Console(width=100)
    with console.capture() as said:
        show(outcome(search), console)
    return next(line for line in said.get().splitlines() if "validation CIDEr" in line).split()[2:]


def test_a_trial_of_params_yaml_that_is_not_done_is_called_so(search):
    assert shown(search) == ["not", "done", "0.600"]


@pytest.mark.parametrize(
    ("state", "value", "told"),
    [
        (TrialState.COMPLETE, 0.5, ["0.500"]),
        (TrialState.PRUNED, 0.2, ["pruned", "0.200"]),
        (TrialState.FAIL, None, ["failed"]),
    ],
)
def test_one_that_has_ended_is_shown_with_its_end(search, state, value, told):
    end_own(search, state, value)
    assert shown(search) == [*told, "0.600"]


def test_a_trial_that_failed_without_saying_why_is_told_of_all_the_same(search):
    end_own(search, TrialState.FAIL, None)
    (told,) = [row for row in map(_row, search.trials()) if row["state"] == "failed"]
    assert "error" not in told
