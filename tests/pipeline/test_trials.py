"""What a worker makes of its trials: real training, in this process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import searching
import torch
from optuna.trial import TrialState

from src import config
from src.data.manifest import Manifest
from src.errors import Untrainable, UserError
from src.places import Places
from src.processes import Group
from src.tracking import Terminated
from src.training import train as training
from src.training.stopping import StopRequest, stop_requests
from src.tune import __main__ as command
from src.tune import worker
from src.tune.desk import WORKER
from src.tune.study import Search, open_search


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "OPTUNA_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return searching.set_up(tmp_path)


def work(stop: StopRequest | None = None) -> None:
    worker.work(config.load(), Places(), Group(0, 1, torch.device("cpu")), StopRequest() if stop is None else stop)


def test_trials_end_pruned_or_complete_as_runs_of_their_own_and_leave_nothing_else(folder):
    work()

    found = searching.trials(folder)
    now = config.load()
    assert found[0].params == {
        "model.dropout": now.model.dropout, "model.rnn": now.model.rnn, "train.learning_rate": now.train.learning_rate,
    }  # fmt: skip
    states = [trial.state for trial in found]
    assert len(states) == 6 and set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    _, runs = searching.runs(folder)
    for trial, run in zip(found, runs, strict=True):
        ended = "KILLED" if trial.state == TrialState.PRUNED else "FINISHED"
        assert (run.info.status, run.data.tags["tune.state"]) == (ended, trial.state.name.lower())
        assert float(run.data.params["train.learning_rate"]) == trial.params["train.learning_rate"]
        assert run.data.params["train.epochs"] == "6"
        if trial.state == TrialState.COMPLETE:
            assert trial.value == max(trial.intermediate_values.values())
        else:
            assert len(trial.intermediate_values) < 6
    assert not (folder / "outputs" / "model").exists()
    assert not (folder / "reports").exists()
    assert not list(folder.glob("mlruns/optuna/*/states/*"))


def test_the_same_seed_gives_the_same_trials(folder, tmp_path, monkeypatch):
    work()
    again = searching.set_up(tmp_path / "again")
    monkeypatch.chdir(again)
    work()
    assert searching.outcomes(again) == searching.outcomes(folder)
    assert [trial.params for trial in searching.trials(again)] == [trial.params for trial in searching.trials(folder)]


def test_no_test_image_is_looked_at(folder, monkeypatch):
    asked = []
    for name in ("rows", "split"):
        method = getattr(Manifest, name)
        monkeypatch.setattr(
            Manifest, name, lambda self, split, method=method: asked.append(split) or method(self, split)
        )
    work()
    assert set(asked) == {"train", "val"}


def test_a_trial_that_fails_does_not_end_the_study(folder, monkeypatch):
    train, calls = worker.train, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("too much")
        if len(calls) == 4:
            raise Untrainable("the loss is nan at step 3")
        return train(*arguments)

    monkeypatch.setattr(worker, "train", failing)
    work()
    found = searching.trials(folder)
    assert [trial.number for trial in found if trial.state == TrialState.FAIL] == [1, 3]
    assert found[3].user_attrs["error"] == "Untrainable: the loss is nan at step 3"
    assert len(found) == 6


@pytest.mark.parametrize(
    ("error", "raised"),
    [(UserError("no space is left for the state after step 7"), True), (ConnectionError("the store is away"), False)],
)
def test_what_is_wrong_outside_of_a_trial_costs_it_nothing(folder, monkeypatch, error, raised):
    searching.change(folder, tune={"trials": 2})
    epoch, left = worker.Attempt.epoch, [error]

    def failing(self, number, row):
        if self.trial.number == 1 and number == 2 and left:
            raise left.pop()
        return epoch(self, number, row)

    monkeypatch.setattr(worker.Attempt, "epoch", failing)
    if raised:
        with pytest.raises(UserError, match="no space"):
            work()
        assert searching.trials(folder)[1].state == TrialState.WAITING
        assert list(folder.glob("mlruns/optuna/*/states/trial-1"))
    work()
    found = searching.trials(folder)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 2
    assert len(searching.runs(folder)[1]) == 2  # gone on with, not begun anew
    assert found[1].user_attrs["attempts"] == (1 if raised else 2)


def test_when_everything_fails_the_worker_says_so_and_stops(folder, monkeypatch):
    searching.change(folder, tune={"trials": 50})

    def failing(*arguments):
        raise OSError("no space")

    monkeypatch.setattr(worker, "train", failing)
    with pytest.raises(UserError, match="5 attempts in a row failed"):
        work()


def test_asked_to_stop_it_gives_its_trial_back_and_the_next_worker_goes_on_from_its_state(folder, monkeypatch, capsys):
    searching.change(folder, tune={"trials": 3})
    work()
    whole = searching.outcomes(folder)
    again = searching.set_up(folder / "again", trials=3)
    monkeypatch.chdir(again)
    epoch = worker.Attempt.epoch

    def stopping(attempt, number, row):
        if attempt.trial.number == 0 and number == 3 and not attempt.trial.user_attrs.get("stopped"):
            attempt.trial.set_user_attr("stopped", True)
            signal.raise_signal(signal.SIGTERM)
        return epoch(attempt, number, row)

    monkeypatch.setattr(worker.Attempt, "epoch", stopping)
    with pytest.raises(Terminated):
        work()
    left = searching.trials(again)[0]
    assert (left.state, len(left.intermediate_values)) == (TrialState.WAITING, 3)
    assert list(again.glob("mlruns/optuna/*/states/trial-0/train-*/state-*"))

    work()
    assert searching.outcomes(again) == whole
    _, runs = searching.runs(again)
    assert len(runs) == 3  # the interrupted trial went on in its own
    assert "resumed at step 37 of 72" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "function", "state"),
    [(worker, "train", TrialState.WAITING), (training, "_summarise", TrialState.COMPLETE)],
    ids=["before it trains", "as it ends"],
)
def test_asked_to_stop_while_no_step_is_done_it_begins_no_other_trial(folder, monkeypatch, module, function, state):
    usual = getattr(module, function)

    def asked(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return usual(*arguments)

    monkeypatch.setattr(module, function, asked)
    with pytest.raises(Terminated), stop_requests() as stop:
        work(stop)
    assert [trial.state for trial in searching.trials(folder)] == [state]


def finish_elsewhere(attempt: worker.Attempt) -> None:
    """What a worker of another machine did to a trial while this one was suspended."""
    search, number = attempt.desk.search, attempt.trial.number
    for name, value in ((WORKER, {"machine": "elsewhere", "pid": 1, "started": 0.0}), (worker.RUN_OF_TRIAL, "theirs")):
        search.storage.set_trial_user_attr(search.id_of(number), name, value)
    search.storage.set_trial_state_values(search.id_of(number), TrialState.COMPLETE, [0.5])


def test_a_trial_that_another_worker_took_over_and_finished_is_let_go_and_the_next_one_begins(
    folder, monkeypatch, caplog
):
    searching.change(folder, tune={"trials": 2})
    epoch = worker.Attempt.epoch

    def suspended(attempt, number, row):
        if (attempt.trial.number, number) == (0, 2):
            finish_elsewhere(attempt)
        return epoch(attempt, number, row)

    monkeypatch.setattr(worker.Attempt, "epoch", suspended)
    work()
    assert searching.outcomes(folder)[0] == ("COMPLETE", 0.5)
    assert len(searching.outcomes(folder)) == 2
    assert "trial 0 was taken over by another worker" in caplog.text
    _, runs = searching.runs(folder)
    assert (runs[0].info.status, runs[0].data.tags["tune.state"]) == ("KILLED", "taken over")
    assert not list(folder.glob("mlruns/optuna/*/states/*"))


@pytest.mark.parametrize(
    "error",
    [Untrainable("no number"), UserError("no space"), KeyboardInterrupt()],
    ids=["failing", "leaving", "stopping"],
)
def test_a_trial_that_another_worker_finished_stays_as_it_is_however_this_one_ends(folder, monkeypatch, error):
    searching.change(folder, tune={"trials": 1})

    def suspended(settings, places, states, group, attempt):
        finish_elsewhere(attempt)
        raise error

    monkeypatch.setattr(worker, "train", suspended)
    with nullcontext() if isinstance(error, Untrainable) else pytest.raises(type(error)):
        work()
    assert searching.outcomes(folder) == {0: ("COMPLETE", 0.5)}


def tune_by(worker: Callable[[Search], None], monkeypatch: pytest.MonkeyPatch) -> int:
    """Give the command; `worker` stands for its processes. Returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["src.tune"])
    monkeypatch.setattr(command, "_supervise", lambda search, *_: worker(search))
    try:
        command.main()
    except SystemExit as end:
        return int(end.code)
    return 0


def test_machines_with_stores_of_their_own_nest_their_trials_in_the_searchs_run_of_their_own_store(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPTUNA_STORAGE", str(tmp_path / "shared.log"))
    machines = folder, searching.set_up(tmp_path / "second")
    for trials, machine in enumerate((*machines, *machines), start=1):
        monkeypatch.chdir(machine)
        searching.change(machine, tune={"trials": trials, "epochs": 1})
        assert tune_by(lambda _: work(), monkeypatch) == 0
    for first, machine in enumerate(machines):
        parents, runs = searching.runs(machine)
        assert [run.data.tags["tune.trial"] for run in runs] == [str(first), str(first + 2)]
        assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id for parent in parents}
        assert len(parents) == 1


def test_who_is_stopped_leaves_the_searchs_run_to_those_who_go_on(folder, monkeypatch):
    def stopped(search: Search) -> None:
        raise KeyboardInterrupt

    def stopped_beside_another(search: Search) -> None:
        search.study.ask().set_user_attr(WORKER, {"machine": "elsewhere", "pid": 1, "started": 0.0})
        raise KeyboardInterrupt

    for ended, status in ((stopped, "KILLED"), (stopped_beside_another, "RUNNING")):
        assert tune_by(ended, monkeypatch) == 128 + signal.SIGINT
        assert [parent.info.status for parent in searching.runs(folder)[0]] == [status]


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work_until(moment: str, folder: Path) -> None:
    os.chdir(folder)
    setattr(worker.Attempt, moment, die)
    work()


def killed_at(moment: str, folder: Path) -> None:
    """A worker is killed when it comes to that method of its attempt."""
    process = multiprocessing.get_context("forkserver").Process(target=work_until, args=(moment, folder))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_trial_that_was_told_to_optuna_alone_is_told_to_mlflow_when_the_search_begins_again(folder):
    searching.change(folder, tune={"trials": 1})
    killed_at("_tag", folder)
    worker.clear_up(open_search(config.load(), Places()))

    (run,) = searching.runs(folder)[1]
    assert (run.info.status, run.data.tags["tune.state"]) == ("FINISHED", "complete")
    assert not list(folder.glob("mlruns/optuna/*/states/*"))


def test_the_run_of_a_trial_that_is_given_up_has_failed(folder):
    searching.change(folder, tune={"trials": 1}, train={"restarts": 0})
    killed_at("epoch", folder)
    work()

    assert [trial.state for trial in searching.trials(folder)] == [TrialState.FAIL]
    (run,) = searching.runs(folder)[1]
    assert (run.info.status, run.data.tags["tune.state"]) == ("FAILED", "fail")


def test_other_data_or_another_space_begin_another_study_and_say_so(folder):
    def opened():
        return open_search(config.load(), Places())

    first = opened()
    assert first.news == f"study {first.name} begins"
    assert opened().news == f"study {first.name} has not finished a trial"
    work()
    assert opened().news == f"study {first.name} goes on: 6 trials are done"
    searching.change(folder, tune={"trials": 9, "workers": 2})
    assert opened().name == first.name
    searching.change(folder, tune={"space": {"model": {"dropout": {"low": 0.2, "high": 0.6}}}})
    second = opened()
    assert second.news == f"study {second.name} begins anew, for tune.space changed since {first.name}"


def test_a_worker_whose_study_is_another_one_by_now_begins_none(folder):
    """Started again after params.yaml was edited, it would search for somebody who is not there."""
    with pytest.raises(UserError, match="has changed since study captionlab-former began"):
        worker.work(config.load(), Places(), Group(0, 1, torch.device("cpu")), StopRequest(), study="captionlab-former")
    assert not searching.trials(folder)


def test_a_space_that_is_empty_or_has_not_what_params_yaml_has_is_refused(folder):
    searching.change(folder, tune={"space": {"model": {"rnn": ["lstm"]}}})
    with pytest.raises(UserError, match=r"model\.rnn is 'gru' in params\.yaml"):
        work()
    searching.change(folder, tune={"space": {}})
    with pytest.raises(UserError, match=r"tune\.space is empty"):
        work()


def test_the_data_of_another_dataset_than_params_yaml_names_is_not_searched_on(folder):
    searching.change(folder, dataset={"name": "flickr8k"})
    with pytest.raises(UserError, match=r"holds sample, params\.yaml names flickr8k: run `dvc repro embed`"):
        open_search(config.load(), Places())


def test_a_storage_that_cannot_be_reached_is_named_without_its_password(folder):
    with pytest.raises(UserError, match=r"postgresql\+psycopg://\*\*\*@127\.0\.0\.1:9/x cannot be opened") as refused:
        open_search(config.load(), Places(), "postgresql://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(refused.value)
