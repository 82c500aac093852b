"""Two workers of a search, killed at random: whether a finished trial is lost, or anything is corrupted.

    python -m benchmarks.killing --seconds 300
    python -m benchmarks.killing --seconds 300 --json killing.json

Works on this folder's outputs/dataset and outputs/embeddings, in a temporary folder, with a small decoder. A process of
the search (a worker, its launcher, the command itself) is killed every few seconds; a command that was killed is given
again. At the end the search is let finish.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.searches import environment, finished_trials, trials, workplace
from src.files import write_json

PAUSE = (2.0, 7.0)
"""Seconds between two kills: a worker is sometimes still importing, sometimes in its second trial."""
AT_ONCE = 2
SMALL: dict[str, Any] = {
    "model": {"hidden_size": 32, "embedding_size": 16, "attention_size": 16},
    "train": {"restarts": 1000, "save_every_steps": 5},
    "tune": {
        "epochs": 4, "startup_trials": 3, "trials": 10_000, "workers": AT_ONCE,
        "space": {
            "model": {"dropout": {"low": 0.0, "high": 0.6}},
            "train": {"learning_rate": {"low": 0.0003, "high": 0.03, "log": True}},
        },
    },
}  # fmt: skip


@dataclass
class Report:
    """What was killed, and what was there afterwards.

    Attributes:
        lost: finished trials that were gone, or ended otherwise, when looked at again.
        unfinished: trials that nobody has taken up at the end.
        runs: MLflow runs of trials; `doubled` are trials that have more than one.
    """

    kills: dict[str, int] = field(default_factory=dict)
    finished: int = 0
    taken_up: int = 0
    lost: list[int] = field(default_factory=list)
    unfinished: int = 0
    runs: int = 0
    doubled: int = 0


def kill_at_random(folder: Path, environment: Mapping[str, str], seconds: float, seed: int = 0) -> Report:
    """Run a search in `folder`, kill its processes for so long, then let it finish what was begun."""
    dice, report = random.Random(seed), Report()
    seen: dict[int, tuple[TrialState, float | None]] = {}
    search = _begin(folder, environment)
    try:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            time.sleep(dice.uniform(*PAUSE))
            _compare(folder, seen, report)
            if search.poll() is not None:
                search = _begin(folder, environment)
                continue
            alive = _processes(search)
            if not any(kind == "worker" for kind, _ in alive):
                continue  # nothing is trained yet: a kill would only put that off
            kind, victim = dice.choice(alive)
            victim.kill()
            report.kills[kind] = report.kills.get(kind, 0) + 1
            if kind == "command":
                search.wait()
                search = _begin(folder, environment)
        search.terminate()
        search.wait()
        begun = len(trials(folder))
        _begin(folder, environment, "--trials", str(begun)).wait()
    finally:
        for _, process in _processes(search) if search.poll() is None else []:
            process.kill()
    _compare(folder, seen, report)
    found = trials(folder)
    report.finished = sum(trial.state.is_finished() for trial in found)
    report.unfinished = len(found) - report.finished
    report.taken_up = sum(trial.user_attrs.get("attempts", 0) > 1 for trial in found)
    runs = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db").search_runs(
        ["1"], "tags.kind = 'trial'", max_results=5000
    )
    counts = Counter(run.data.tags["tune.trial"] for run in runs)
    report.runs, report.doubled = len(runs), sum(count > 1 for count in counts.values())
    return report


def _begin(folder: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / "search.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "src.tune", *arguments], cwd=folder, env=dict(environment), stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip


def _processes(search: subprocess.Popen[bytes]) -> list[tuple[str, psutil.Process]]:
    command = psutil.Process(search.pid)
    found = [("command", command)]
    for child in command.children(recursive=True):
        try:
            words = child.cmdline()
        except psutil.NoSuchProcess:
            continue
        if "src.tune.worker" in words:
            found += [("launcher", child)] if "src.launch" in words else [("worker", child)] * 3
    return found


def _compare(folder: Path, seen: dict[int, tuple[TrialState, float | None]], report: Report) -> None:
    now = {trial.number: (trial.state, trial.value) for trial in finished_trials(folder)}
    report.lost += [number for number, ended in seen.items() if now.get(number) != ended]
    seen.update(now)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killing")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = workplace(Path(temporary), SMALL)
        report = kill_at_random(folder, environment(folder), options.seconds, options.seed)
    table = Table("", "", title=f"{options.seconds:g} seconds of kills, {AT_ONCE} workers", show_header=False)
    killed = ", ".join(f"{count} x {kind}" for kind, count in report.kills.items())
    for name, value in asdict(report).items():
        table.add_row(name, killed if name == "kills" else str(value))
    Console().print(table)
    if options.json:
        write_json(options.json, {"machine": machine.description(), "seconds": options.seconds, **asdict(report)})
    sys.exit(bool(report.lost or report.unfinished or report.doubled))


if __name__ == "__main__":
    main()
