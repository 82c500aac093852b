"""Which trial a worker does next: one that somebody left, or a new one.

A trial belongs to the worker that took it. A worker that is asked to stop gives it back. One that was killed cannot:
its trial is given back by whoever finds its process gone, on another machine by whoever has seen no sign of life of it
for a minute. Who takes it up goes on from the state that its training saved. A worker that was suspended for longer
finds its trial taken over when it wakes, and lets go of it.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from src.config import fingerprint
from src.tune.study import Search
from src.tune.suggestions import Overrides, suggest

WORKER, BEAT, ATTEMPTS, ERROR = "worker", "beat", "attempts", "error"
"""Attributes of a trial: who does it, its last sign of life, how often it was begun, why it failed."""
FAILURES_IN_A_ROW = 5
"""That are no accident: something is wrong with the machine or the data, not with the parameters."""
BEAT_SECONDS = 10.0
LEASE_SECONDS = 60.0
"""Without a sign of life, after which a worker of another machine is taken for dead."""
CLOCK_SECONDS = 5.0
"""By which the start of one and the same process may seem to move when the system's clock is set."""

log = logging.getLogger(__name__)


class Desk:
    def __init__(self, search: Search) -> None:
        self.search = search
        self._seen: dict[int, tuple[Any, float]] = {}

    def next(self) -> tuple[Trial, Overrides] | None:
        """Take a trial and what it tries; None when there is none to take now."""
        with self.search.lock():
            self._give_back_what_was_abandoned()
            while True:
                trials = self.search.trials()
                left = any(trial.state == TrialState.WAITING for trial in trials)
                if not left and len(trials) >= self.search.settings.tune.trials:
                    return None
                trial = self.search.study.ask()
                attempts = trial.user_attrs.get(ATTEMPTS, 0)
                if attempts <= self.search.settings.train.restarts:
                    trial.set_user_attr(WORKER, _myself())
                    trial.set_user_attr(ATTEMPTS, attempts + 1)
                    # Before anybody else asks: TPE keeps away from what is being tried.
                    return trial, suggest(trial, self.search.settings)
                error = trial.user_attrs.get(ERROR, "without a word")
                trial.set_user_attr(ERROR, f"its process ended {attempts} times, the last time: {error}")
                self.search.study.tell(trial, state=TrialState.FAIL)

    def others_are_at_work(self) -> bool:
        return any(trial.state == TrialState.RUNNING for trial in self.search.trials())

    def others_live(self) -> bool:
        """Whether a trial is done by a worker that, for all this process knows, is not gone."""
        return any(
            trial.state == TrialState.RUNNING and not self._is_abandoned(trial) for trial in self.search.trials()
        )

    def holds(self, trial: Trial) -> bool:
        """Whether a trial that this worker took is still its own."""
        now = self.search.storage.get_trial(self.search.id_of(trial.number))
        return now.state == TrialState.RUNNING and now.user_attrs[WORKER] == trial.user_attrs[WORKER]

    def give_back(self, trial: Trial, error: str = "") -> None:
        """Leave an unfinished trial to whoever comes next.

        Args:
            error: what ended this attempt, which counts then.
        """
        with self.search.lock():
            if error:
                trial.set_user_attr(ERROR, error)
            else:
                trial.set_user_attr(ATTEMPTS, trial.user_attrs[ATTEMPTS] - 1)
            self.search.storage.set_trial_state_values(self.search.id_of(trial.number), TrialState.WAITING)

    def _give_back_what_was_abandoned(self) -> None:
        for trial in self.search.trials():
            if trial.state == TrialState.RUNNING and self._is_abandoned(trial):
                log.warning("trial %d was left by a worker that is gone: it is taken up again", trial.number)
                try:
                    self.search.storage.set_trial_state_values(self.search.id_of(trial.number), TrialState.WAITING)
                except UpdateFinishedTrialError:
                    continue  # it was alive after all, and has finished

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        worker = trial.user_attrs.get(WORKER, {})
        if worker.get("machine") == _machine():
            # This process asks for its next trial: it does none.
            return worker["pid"] == os.getpid() or not _lives(worker["pid"], worker["started"])
        # By this machine's clock: that of the other may show anything.
        # The beat alone is still its former worker's when somebody has just taken it over.
        sign, now = (worker, trial.user_attrs.get(BEAT)), time.monotonic()
        former, since = self._seen.setdefault(trial.number, (sign, now))
        if sign != former:
            self._seen[trial.number] = sign, now
            return False
        return now - since > LEASE_SECONDS


@contextmanager
def signs_of_life(search: Search, trial: Trial) -> Iterator[None]:
    """Within the block other machines see that this worker lives."""
    number, done = search.id_of(trial.number), threading.Event()

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            try:
                search.storage.set_trial_user_attr(number, BEAT, time.time())
            except UpdateFinishedTrialError:
                break
            except Exception:  # training goes on without; the next beat may get through
                log.warning("trial %d could not give a sign of life", trial.number, exc_info=True)
        search.storage.remove_session()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _myself() -> dict[str, Any]:
    return {"machine": _machine(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _machine() -> str:
    """A name for where process ids mean the same, which tells nothing about it."""
    boot, ids = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    return fingerprint(
        platform.node(), boot.read_text() if boot.exists() else "", str(ids.readlink()) if ids.is_symlink() else ""
    )


def _lives(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return False
