"""The command: it searches, it is stopped, killed and begun again, alone, in twos, on a database."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import laboratory
import postgres
import psutil
import pytest
import searching
from optuna.trial import TrialState

from benchmarks.killing import kill_at_random

SECONDS = 400
"""More than any search here takes, so that a hang fails."""

pytestmark = pytest.mark.slow


def tune(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "src.tune", *arguments],
        cwd=folder, env=laboratory.environment(), capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


@pytest.fixture
def begun():
    """Begins a search in a folder; what is left of it at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "src.tune", *arguments],
                cwd=folder,
                env=laboratory.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for search in started:
        if search.poll() is None:
            for process in [*psutil.Process(search.pid).children(recursive=True), search]:
                process.kill()
            search.wait()


def wait_for(happened: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < limit, f"waited {SECONDS} s for {what}"
        time.sleep(0.05)


def epochs(folder: Path) -> int:
    return sum(len(trial.intermediate_values) for trial in searching.trials(folder))


def test_a_search_ends_with_the_best_parameters_as_an_experiment_and_goes_on_when_asked_for_more(tmp_path):
    folder = searching.set_up(tmp_path)
    first = tune(folder)

    assert first.returncode == 0, first.stderr
    assert "begins" in first.stdout and "Best parameters" in first.stdout
    best = max(
        (trial for trial in searching.trials(folder) if trial.state == TrialState.COMPLETE),
        key=lambda trial: trial.value,
    )
    command = next(folder.glob("mlruns/optuna/*/best.sh")).read_text()
    assert command.startswith("dvc exp run -S ") and command.strip() in first.stdout
    assert f"train.learning_rate={best.params['train.learning_rate']}" in command
    parents, runs = searching.runs(folder)
    assert [parent.info.status for parent in parents] == ["FINISHED"]
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parents[0].info.run_id}
    assert parents[0].data.tags["tune.best_trial"] == str(best.number)
    assert parents[0].data.metrics["best_val_CIDEr"] == best.value
    found = {key: value for key, value in parents[0].data.tags.items() if key.startswith("best.")}
    searched = ("model.rnn", "model.dropout", "train.learning_rate", "train.clip_norm")
    assert found == {f"best.{key}": str(best.params.get(key, "")) for key in searched}
    kept = folder / "mlruns" / "artifacts" / parents[0].info.run_id / "artifacts"
    assert {file.name for file in (kept / "search").iterdir()} == {
        "history.png", "intermediate-values.png", "parallel-coordinates.png", "importances.png",
    }  # fmt: skip
    assert len(json.loads((kept / "trials.json").read_text())["data"]) == 6

    before = searching.outcomes(folder)
    again = tune(folder, "--trials", "8")
    assert "goes on: 6 trials are done" in again.stdout
    after = searching.outcomes(folder)
    assert len(after) == 8 and before.items() <= after.items()
    assert len(searching.runs(folder)[0]) == 1
    assert "all 8 trials are done: --trials 16 would go on" in tune(folder, "--trials", "4").stdout
    assert not (folder / "outputs" / "model").exists()


def test_ctrl_c_saves_the_trial_and_the_same_command_takes_it_up(tmp_path, begun):
    folder = searching.set_up(tmp_path, trials=3)
    search = begun(folder)
    wait_for(lambda: epochs(folder) >= 2, "two epochs")
    search.send_signal(signal.SIGINT)

    assert search.wait(SECONDS) == 128 + signal.SIGINT
    left = [trial for trial in searching.trials(folder) if not trial.state.is_finished()]
    assert [trial.state for trial in left] == [TrialState.WAITING]
    assert list(folder.glob(f"mlruns/optuna/*/states/trial-{left[0].number}/train-*/state-*"))
    assert searching.runs(folder)[0][0].info.status == "KILLED"

    assert tune(folder).returncode == 0
    assert len(searching.outcomes(folder)) == 3
    parents, runs = searching.runs(folder)
    assert (len(parents), len(runs)) == (1, 3)


def test_when_time_is_over_the_trial_waits(tmp_path):
    folder = searching.set_up(tmp_path, {"epochs": 8}, trials=500)
    ended = tune(folder, "--timeout", "25")
    assert ended.returncode == 0, ended.stderr
    states = [trial.state for trial in searching.trials(folder)]
    assert "25 seconds are over" in ended.stdout
    assert f"{states.count(TrialState.WAITING)} were begun and wait" in ended.stdout
    assert states.count(TrialState.RUNNING) == 0


def test_a_killed_command_takes_its_workers_with_it_and_loses_nothing(tmp_path, begun):
    folder = searching.set_up(tmp_path, trials=4)
    search = begun(folder, "--workers", "2")
    wait_for(lambda: epochs(folder) >= 2, "two epochs")
    workers = psutil.Process(search.pid).children(recursive=True)
    search.kill()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert gone and not alive
    assert tune(folder).returncode == 0
    assert len(searching.outcomes(folder)) == 4


def test_two_workers_killed_at_random_lose_no_finished_trial(tmp_path):
    folder = searching.set_up(tmp_path, {"restarts": 1000}, trials=10_000, workers=2, epochs=4)
    report = kill_at_random(folder, laboratory.environment(), seconds=40)
    assert sum(json.loads(json.dumps(asdict(report)))["kills"].values()) >= 2  # as --json keeps it
    assert (report.lost, report.unfinished, report.doubled) == ([], 0, 0)
    assert report.finished == report.runs


def test_a_trial_of_two_processes_is_pruned_on_both_and_survives_the_death_of_one(tmp_path, begun):
    worse = {"train": {"learning_rate": [0.02, 0.000001]}}
    folder = searching.set_up(
        tmp_path, {"processes": 2, "save_every_steps": 3, "learning_rate": 0.02}, trials=5,
        space=worse, sampler="random", pruner="median", startup_trials=1, min_epochs=3,
    )  # fmt: skip
    search = begun(folder)
    wait_for(lambda: epochs(folder) >= 2, "two epochs")
    ranks = [
        child
        for child in psutil.Process(search.pid).children(recursive=True)
        if "src.tune.worker" in child.cmdline() and "src.launch" not in child.cmdline()
    ]
    assert len(ranks) == 2
    ranks[1].kill()

    output, _ = search.communicate(timeout=SECONDS)
    assert search.returncode == 0, output
    states = [trial.state for trial in searching.trials(folder)]
    assert len(states) == 5 and set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(searching.runs(folder)[1]) == 5


def test_a_study_on_postgresql_is_the_same_study(tmp_path):
    journal, database = searching.set_up(tmp_path / "journal", trials=4), searching.set_up(tmp_path / "db", trials=4)
    with postgres.server() as address:
        ended = tune(database, "--storage", address)
        assert ended.returncode == 0, ended.stderr
        found = searching.outcomes(database, address)
        more = tune(database, "--storage", address, "--trials", "7", "--workers", "2")
        assert more.returncode == 0, more.stderr
        assert len(searching.outcomes(database, address)) == 7
    assert tune(journal).returncode == 0
    assert found == searching.outcomes(journal)


def test_the_winner_becomes_an_experiment(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = searching.set_up(tmp_path, trials=4)
    shutil.rmtree(folder / "mlruns", ignore_errors=True)
    command = folder / "bin" / "dvc"  # stands for DVC: what it is given is what counts here
    command.parent.mkdir()
    command.write_text('#!/bin/sh\necho "dvc $*" > called\n')
    command.chmod(0o755)
    environment = laboratory.environment()
    environment["PATH"] = f"{command.parent}:{environment['PATH']}"
    subprocess.run(
        [sys.executable, "-m", "src.tune", "--apply"], cwd=folder, env=environment, check=True, timeout=SECONDS
    )
    assert (folder / "called").read_text() == next(folder.glob("mlruns/optuna/*/best.sh")).read_text()
