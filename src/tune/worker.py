"""One worker of a search: it takes trial after trial and trains it with the engine that trains models.

    python -m src.launch src.tune.worker
    torchrun --nnodes 2 --nproc-per-node 4 ... -m src.tune.worker

`python -m src.tune` starts it. Started on another machine, with OPTUNA_STORAGE naming the shared study, it helps.
Rank 0 talks to Optuna; what it decides, all processes of its group do.
"""

from __future__ import annotations

import argparse
import gc
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from optuna.trial import Trial, TrialState

from src import config, tracking
from src.config import ConfigError, Settings, validated
from src.errors import Untrainable, UserError, reported
from src.places import Places
from src.processes import Group, processes
from src.tracking import Pruned, Run, Terminated
from src.training.stopping import StopRequest, stop_requests
from src.training.train import train
from src.tune.desk import ERROR, FAILURES_IN_A_ROW, Desk, signs_of_life
from src.tune.study import Search, open_search
from src.tune.suggestions import Overrides, settings_of

RUN_OF_TRIAL, STATE_TAG = "run", "tune.state"
POLL_SECONDS = 2.0

log = logging.getLogger(__name__)


@reported()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.launch src.tune.worker")
    parser.add_argument("--trials", type=int, help="instead of tune.trials")
    parser.add_argument("--study", help="work for this one alone")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    settings = with_tune(config.load(), trials=options.trials)
    with processes() as group, stop_requests() as stop:
        work(settings, Places(), group, stop, options.study)


def with_tune(settings: Settings, **changes: object) -> Settings:
    """`settings` with other values in the section tune; None leaves one as it is."""
    tune = {**settings.tune.model_dump(), **{name: value for name, value in changes.items() if value is not None}}
    return validated({**settings.model_dump(), "tune": tune}, "command line")


def work(settings: Settings, places: Places, group: Group, stop: StopRequest, study: str | None = None) -> None:
    """Do trials until the study has all it wants, and nobody else is at work whose trial might be left.

    Args:
        study: the only one to work for; None for that of `settings`.

    Raises:
        UserError: trial after trial fails, something outside of them is wrong (the disk is full, a store does not
            answer), or the study cannot be opened or is another one by now.
        KeyboardInterrupt, Terminated: the worker was asked to stop; its trial's state is saved, the trial given back.
    """
    desk = Desk(open_search(settings, places, only=study)) if group.is_main else None
    failures = 0
    while True:
        taken = desk.next() if desk and not stop else None
        if desk:
            clear_up(desk.search)
        waits = bool(desk and not taken and not stop and desk.others_are_at_work())
        overrides, waits = group.from_main((taken[1] if taken else None, waits))
        if waits:
            time.sleep(POLL_SECONDS)
        elif overrides is None:
            break
        else:
            attempt = Attempt(desk, taken[0], settings) if desk and taken else None
            failures = 0 if _attempt(attempt, overrides, settings, places, group) else failures + 1
            if failures == FAILURES_IN_A_ROW:
                raise UserError(
                    f"{failures} attempts in a row failed: correct what their errors name and give the same command "
                    "again"
                )
    if stop:
        raise stop.grant()


class Attempt:
    """Rank 0's side of a trial: takes each epoch to Optuna, and how the trial ended to Optuna and MLflow."""

    def __init__(self, desk: Desk, trial: Trial, settings: Settings) -> None:
        self.desk, self.trial = desk, trial
        self._last_epoch = settings.tune.epochs
        self._reported = max(desk.search.trials()[trial.number].intermediate_values, default=0)
        self._run: Run | None = None

    @property
    def tags(self) -> Mapping[str, str]:
        search = self.desk.search
        parent = tracking.here(search.run_id) if search.run_id else ""
        return ({"mlflow.parentRunId": parent} if parent else {}) | {
            "mlflow.runName": f"trial {self.trial.number}",
            "mlflow.source.name": "src.tune",
            "kind": "trial",
            "tune.study": search.name,
            "tune.trial": str(self.trial.number),
            STATE_TAG: "running",
        }

    def begin(self, run: Run) -> None:
        self._run = run
        self.trial.set_user_attr(RUN_OF_TRIAL, run.id)

    def epoch(self, number: int, row: Mapping[str, float]) -> bool:
        """Whether the trial is not worth its remaining epochs, or is another worker's now."""
        if not self.desk.holds(self.trial):
            return True
        if number > self._reported:
            self.trial.report(row["val_CIDEr"], number)
            self._reported = number
        # What was decided of epochs before a restart stands; after the last one there is nothing to save.
        return self._reported == number < self._last_epoch and self.trial.should_prune()

    def end(self, state: TrialState, value: float | None = None, error: Exception | None = None) -> None:
        if self._was_taken_over():
            return
        if error is not None:
            self.trial.set_user_attr(ERROR, _named(error))
        self.desk.search.study.tell(self.trial, value, state=state, skip_if_finished=True)
        self._tag(state.name.lower())
        shutil.rmtree(self.states, ignore_errors=True)

    def leave(self, error: Exception | None = None) -> None:
        """Unfinished, to be taken up: as often as if the process had been killed where it was an error."""
        if not self._was_taken_over():
            self.desk.give_back(self.trial, _named(error) if error else "")
            self._tag("waiting")

    @property
    def states(self) -> Path:
        return self.desk.search.states(self.trial.number)

    def _was_taken_over(self) -> bool:
        """Whether how the trial ends is another worker's to tell; says so."""
        if self.desk.holds(self.trial):
            return False
        log.warning("trial %d was taken over by another worker: it is left to that one", self.trial.number)
        self._tag("taken over")
        return True

    def _tag(self, state: str) -> None:
        if self._run is not None:
            self._run.tag(STATE_TAG, state)


def _attempt(attempt: Attempt | None, overrides: Overrides, settings: Settings, places: Places, group: Group) -> bool:
    """Do a trial. Returns whether it came to something."""
    if attempt is None:
        return _train(None, overrides, settings, places, group)
    with signs_of_life(attempt.desk.search, attempt.trial):
        return _train(attempt, overrides, settings, places, group)


def _train(attempt: Attempt | None, overrides: Overrides, settings: Settings, places: Places, group: Group) -> bool:
    try:
        states = attempt.states if attempt else Path()
        value = train(settings_of(settings, overrides), places, states, group, attempt)
    except Pruned:
        if attempt:
            attempt.end(TrialState.PRUNED)
    except (KeyboardInterrupt, Terminated):
        if attempt:
            attempt.leave()
        raise
    except Exception as error:
        log.warning("a trial with %s failed (%s)", overrides, _named(error), exc_info=True)
        own = isinstance(error, Untrainable | ConfigError | torch.OutOfMemoryError)
        outside = isinstance(error, UserError) and not own
        if attempt and own:
            attempt.end(TrialState.FAIL, error=error)
        elif attempt:  # it goes on from its state: nothing that is wrong outside of it may cost it that
            attempt.leave(None if outside else error)
        # Where there are others nobody knows where they are: all processes begin anew.
        if outside or group.size > 1:
            raise
        _free_memory()
        return False
    else:
        if attempt:
            attempt.end(TrialState.COMPLETE, value)
    _free_memory()
    return True


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def clear_up(search: Search) -> None:
    """Do for trials that ended what their worker would have done next, had it not been killed: it tells MLflow how they
    ended, then removes their states."""
    for trial in search.finished():
        states = search.states(trial.number)
        if states.exists():
            if RUN_OF_TRIAL in trial.user_attrs:
                tracking.conclude(trial.user_attrs[RUN_OF_TRIAL], {STATE_TAG: trial.state.name.lower()})
            shutil.rmtree(states, ignore_errors=True)


if __name__ == "__main__":
    main()
