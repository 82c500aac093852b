"""The searches for better parameters as the page shows them: every trial, while the search goes on too."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from src.errors import UserError
from src.places import search_folder
from src.search_space import Value
from src.tune.desk import BEAT, LEASE_SECONDS
from src.tune.study import COMMAND_FILE, JOURNAL, PREFIX, STORAGE_VARIABLE, open_storage
from src.tune.table import STATES

FRESH_SECONDS = 2.0


@dataclass(frozen=True)
class TrialRow:
    """One trial: what it tried, and the best validation CIDEr that it reached, if any yet."""

    number: int
    state: str
    value: float | None
    epochs: int
    parameters: Mapping[str, Value]


@dataclass(frozen=True)
class StudyRow:
    """One search, its trials in their order.

    Attributes:
        figures: names of the pictures that its command drew, without suffix.
        command: that trains the best parameters; empty until the search has one.
    """

    name: str
    trials: tuple[TrialRow, ...]
    figures: tuple[str, ...] = ()
    command: str = ""

    @property
    def best(self) -> TrialRow | None:
        """The complete trial that reached most."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        return max(complete, key=lambda trial: trial.value or 0.0, default=None)

    def best_so_far(self) -> list[tuple[int, float]]:
        """After each complete trial the most that any had reached."""
        found: list[tuple[int, float]] = []
        for trial in self.trials:
            if trial.state == "complete" and trial.value is not None:
                found.append((trial.number, max(trial.value, found[-1][1] if found else trial.value)))
        return found


@dataclass
class Studies:
    """Reads the searches, for all visitors at most every FRESH_SECONDS."""

    _studies: tuple[StudyRow, ...] = ()
    _read: float = -FRESH_SECONDS
    _storage: BaseStorage | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> tuple[StudyRow, ...]:
        """This project's searches that have a trial: those at work first, then those that were last.

        Raises:
            UserError: their storage cannot be opened, or not be read any more.
        """
        with self._lock:
            if time.monotonic() - self._read >= FRESH_SECONDS:
                address = os.environ.get(STORAGE_VARIABLE) or None
                if self._storage is None and (address or (search_folder() / JOURNAL).exists()):
                    self._storage = open_storage(address)
                if self._storage is not None:
                    try:
                        self._studies = tuple(_studies(self._storage))
                    except Exception as error:  # files, databases and their drivers fail in ways of their own
                        self._storage = None  # opened anew when somebody looks again
                        raise UserError(
                            f"the searches cannot be read ({type(error).__name__}): their storage is gone or does not "
                            "answer; the page looks again by itself"
                        ) from None
                self._read = time.monotonic()
            return self._studies


def _studies(storage: BaseStorage) -> list[StudyRow]:
    found = []
    for study in storage.get_all_studies():
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
        if trials and study.study_name.startswith(PREFIX):
            folder = search_folder() / study.study_name
            figures = tuple(path.stem for path in sorted(folder.glob("figures/*.png")))
            rows = tuple(_row(trial) for trial in trials)
            row = StudyRow(study.study_name, rows, figures, _text(folder / COMMAND_FILE))
            begun = max((trial.datetime_start for trial in trials if trial.datetime_start), default=datetime.min)
            found.append((any(map(_is_at_work, trials)), begun, row))
    return [row for *_, row in sorted(found, key=lambda one: one[:2], reverse=True)]


def _is_at_work(trial: FrozenTrial) -> bool:
    """Whether its worker was heard of lately: one that was killed leaves it running for ever."""
    if trial.state != TrialState.RUNNING or trial.datetime_start is None:
        return False
    heard: float = max(trial.datetime_start.timestamp(), trial.user_attrs.get(BEAT, 0.0))
    return time.time() - heard < LEASE_SECONDS


def _row(trial: FrozenTrial) -> TrialRow:
    reached = [*trial.intermediate_values.values(), *([trial.value] if trial.value is not None else [])]
    value = trial.value if trial.value is not None else max(reached, default=None)
    return TrialRow(trial.number, STATES[trial.state], value, len(trial.intermediate_values), dict(trial.params))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""
