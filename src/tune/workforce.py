"""The workers of this machine: started, started again when they die, asked to stop."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import torch
from optuna.trial import TrialState

from src.errors import UserError
from src.launch import share_cores
from src.parent import PARENT
from src.tune.desk import ERROR, FAILURES_IN_A_ROW
from src.tune.study import Search

PATIENCE = 150.0
"""Seconds in which a worker that was asked to stop has saved its state."""
RESTARTS = 3
"""Of workers, while no trial is finished in between: more would not help."""
LAST_LINES = 12


class Workforce:
    """Workers, each with a log file of its own in the study's folder."""

    def __init__(self, search: Search, environment: Mapping[str, str]) -> None:
        self._search = search
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._restarts, self._finished = 0, -1
        self._before = {trial.number for trial in search.finished()}
        self._environment = {**environment, "TQDM_MININTERVAL": "3600", PARENT: str(os.getpid())}
        settings = search.settings
        processes = settings.train.processes or torch.cuda.device_count() or 1
        share_cores(self._environment, settings.tune.workers * processes)
        for number in range(settings.tune.workers):
            self._start(number)

    def log(self, number: int) -> Path:
        return self._search.folder / f"worker-{number}.log"

    def at_work(self) -> bool:
        """Whether any is left, after those that died were started again.

        Raises:
            UserError: they die whenever they are started.
        """
        trials = [trial for trial in self._search.finished() if trial.number not in self._before]
        last = sorted(trials, key=lambda trial: trial.datetime_complete or datetime.min)[-FAILURES_IN_A_ROW:]
        if len(last) == FAILURES_IN_A_ROW and all(trial.state == TrialState.FAIL for trial in last):
            reason = last[-1].user_attrs.get(ERROR, "see the worker's log")
            raise UserError(f"{len(last)} trials in a row failed ({reason}): correct that and give the command again")
        finished = len(trials)
        if finished != self._finished:
            self._restarts, self._finished = 0, finished
        for number, worker in list(self._workers.items()):
            status = worker.poll()
            if status is None:
                continue
            del self._workers[number]
            if status == 0:
                continue
            if self._restarts == RESTARTS:
                raise UserError(f"workers end with errors; the end of {self.log(number)}:\n{_tail(self.log(number))}")
            self._restarts += 1
            self._start(number)
        return bool(self._workers)

    def stop(self) -> None:
        """Ask all to save and leave, and wait until they have."""
        for worker in self._workers.values():
            worker.terminate()
        limit = time.monotonic() + PATIENCE
        for worker in self._workers.values():
            try:
                worker.wait(max(0.0, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self._workers.clear()

    def _start(self, number: int) -> None:
        self._search.folder.mkdir(parents=True, exist_ok=True)
        options = ["--trials", str(self._search.settings.tune.trials), "--study", self._search.name]
        with self.log(number).open("ab") as log:
            self._workers[number] = subprocess.Popen(
                [sys.executable, "-m", "src.launch", "src.tune.worker", *options],
                env=self._environment | _gpu(number, self._search.settings.train.processes),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is this command's to hand on
            )  # fmt: skip


@contextmanager
def workforce(search: Search, environment: Mapping[str, str]) -> Iterator[Workforce]:
    """Workers that are stopped when the block ends, however it ends."""
    force = Workforce(search, environment)
    try:
        yield force
    finally:
        force.stop()


def _gpu(number: int, processes: int) -> dict[str, str]:
    """A GPU of its own for each worker of one process, where there are several; they would all take the first."""
    if processes != 1 or torch.cuda.device_count() < 2:
        return {}
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    visible = named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
    return {"CUDA_VISIBLE_DEVICES": visible[number % len(visible)]}


def _tail(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])
