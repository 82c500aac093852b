"""Who does which trial: nobody's is lost, nobody's is done twice."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from src.config import Settings
from src.tune import desk as desks
from src.tune.desk import Desk, signs_of_life
from src.tune.journal import open_journal
from src.tune.study import Search
from src.tune.suggestions import SeededByTrial


@pytest.fixture
def search(tmp_path) -> Search:
    return opened(tmp_path)


def opened(folder: Path, trials: int = 3) -> Search:
    tune = {"trials": trials, "space": {"model": {"dropout": {"low": 0.1, "high": 0.9}}}}
    settings = Settings.model_validate({"tune": tune, "train": {"restarts": 1}})
    storage = open_journal(folder / "journal.log")
    study = optuna.create_study(
        storage=storage, study_name="s", load_if_exists=True, direction="maximize", sampler=SeededByTrial(settings)
    )
    return Search(study, storage, folder / "s", settings, {}, "")


def left_by(search: Search, worker: dict) -> int:
    trial, _ = Desk(search).next()
    trial.set_user_attr(desks.WORKER, worker)
    return trial.number


def test_there_are_as_many_trials_as_asked_for(search):
    desk = Desk(search)
    for _ in range(3):
        trial, overrides = desk.next()
        assert set(overrides) == {"model.dropout"}
        search.study.tell(trial, 1.0)
    assert desk.next() is None
    assert Desk(opened(search.folder.parent, trials=4)).next() is not None


def test_a_trial_given_back_is_the_next_one_with_its_values_and_epochs(search):
    desk = Desk(search)
    trial, overrides = desk.next()
    trial.report(0.5, 1)
    desk.give_back(trial)
    again, same = desk.next()
    assert (again.number, same) == (trial.number, overrides)
    assert search.trials()[again.number].intermediate_values == {1: 0.5}


def test_a_trial_whose_process_is_gone_is_taken_up(search):
    gone = {"machine": desks._machine(), "pid": 2**22 + 1, "started": 0.0}
    number = left_by(search, gone)
    assert Desk(search).next()[0].number == number


def test_a_process_that_has_the_number_of_a_dead_one_does_not_keep_its_trial(search):
    number = left_by(search, {"machine": desks._machine(), "pid": os.getppid(), "started": 0.0})
    assert Desk(search).next()[0].number == number


def test_a_trial_at_work_is_left_alone(search):
    import psutil

    parent = psutil.Process(os.getppid())
    number = left_by(search, {"machine": desks._machine(), "pid": parent.pid, "started": parent.create_time()})
    assert Desk(search).next()[0].number != number


def test_another_machines_trial_is_taken_up_when_it_gives_no_sign_of_life(search, monkeypatch):
    now = 0.0
    monkeypatch.setattr(desks.time, "monotonic", lambda: now)
    number = left_by(search, {"machine": "elsewhere", "pid": 1, "started": 0.0})
    desk = Desk(search)
    for _ in range(2):
        trial, _ = desk.next()
        assert trial.number != number
        search.study.tell(trial, 1.0)
    now = 50.0
    search.storage.set_trial_user_attr(search.id_of(number), desks.BEAT, 1)
    assert desk.next() is None and desk.others_are_at_work()
    now = 100.0
    assert desk.next() is None
    now = 111.0
    assert desk.next()[0].number == number


def test_a_trial_taken_over_by_a_second_machine_is_not_taken_by_a_third_before_its_first_sign_of_life(
    search, monkeypatch
):
    now = 0.0
    monkeypatch.setattr(desks.time, "monotonic", lambda: now)
    number = left_by(search, {"machine": "first", "pid": 1, "started": 0.0})
    search.storage.set_trial_user_attr(search.id_of(number), desks.BEAT, 1)
    third = Desk(search)
    for _ in range(2):
        search.study.tell(third.next()[0], 1.0)
    now = 61.0
    search.storage.set_trial_user_attr(search.id_of(number), desks.WORKER, {"machine": "second", "pid": 1})
    assert third.next() is None
    now = 122.0
    assert third.next()[0].number == number


def test_a_trial_that_was_taken_over_is_its_first_workers_no_more(search, monkeypatch):
    first, second = Desk(search), Desk(opened(search.folder.parent))
    trial, _ = first.next()
    assert first.holds(trial)
    monkeypatch.setattr(desks, "_myself", lambda: {"machine": "second", "pid": 1, "started": 0.0})
    again, _ = second.next()  # this process asks for a trial: it does none
    assert (again.number, first.holds(trial), second.holds(again)) == (trial.number, False, True)
    second.search.study.tell(again, 1.0)
    assert not second.holds(again)


def test_a_worker_gives_signs_of_life(search, monkeypatch):
    monkeypatch.setattr(desks, "BEAT_SECONDS", 0.02)
    trial, _ = Desk(search).next()
    with signs_of_life(search, trial):
        for _ in range(500):
            if desks.BEAT in search.trials()[trial.number].user_attrs:
                break
            desks.time.sleep(0.02)
    assert search.trials()[trial.number].user_attrs[desks.BEAT] > 0


def test_a_trial_that_ends_its_process_again_and_again_is_given_up(search):
    for _ in range(2):
        left_by(search, {"machine": desks._machine(), "pid": 2**22 + 1, "started": 0.0})
    assert Desk(search).next()[0].number == 1
    assert search.trials()[0].state == TrialState.FAIL
    assert "ended 2 times" in search.trials()[0].user_attrs[desks.ERROR]
