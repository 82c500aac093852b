"""Search for better parameters: Bayesian, with trials that promise little ended early.

    python -m src.tune --trials 30                 again to go on, after Ctrl-C or a crash too
    python -m src.tune --trials 60 --workers 2 --timeout 3600
    python -m src.tune --storage postgresql://HOST/studies      the same on every machine that helps
    python -m src.tune --apply                     train the best found as a DVC experiment

Reads params.yaml (section tune), outputs/dataset and outputs/embeddings; leaves mlruns/optuna/ and runs in MLflow.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from src import config, tracking
from src.errors import UserError, reported
from src.places import Places
from src.training.stopping import StopRequest, stop_requests
from src.tune.desk import Desk
from src.tune.outcome import keep, outcome, show
from src.tune.study import RUN, STORAGE_VARIABLE, Search, open_search
from src.tune.table import Progress
from src.tune.worker import clear_up, with_tune
from src.tune.workforce import workforce

LOOK_SECONDS = 0.5


@reported()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.tune", description="Search for better parameters.")
    parser.add_argument("--trials", type=int, help="of the study, those of earlier calls included")
    parser.add_argument("--workers", type=int, help="trials at once on this machine")
    parser.add_argument("--timeout", type=float, help="seconds after which this call ends; unfinished trials wait")
    parser.add_argument("--storage", help="Optuna storage URL, or a journal's path (default mlruns/optuna/journal.log)")
    parser.add_argument("--apply", action="store_true", help="then run the best as a DVC experiment")
    options = parser.parse_args()
    begun = time.monotonic()
    console = Console(soft_wrap=not sys.stdout.isatty())
    settings = with_tune(config.load(), trials=options.trials, workers=options.workers, timeout=options.timeout)
    search = open_search(settings, Places(), options.storage)
    console.print(search.news, highlight=False)
    environment = dict(os.environ)
    if options.storage:
        environment[STORAGE_VARIABLE] = options.storage
    tags = {"mlflow.source.name": "src.tune", "tune.study": search.name}
    with tracking.run(
        "tune", name="search", settings=settings, hashes=search.hashes, tags=tags, resume=search.run_id or None,
        ticket=search.ticket, goes_on=Desk(search).others_live,
    ) as run:  # fmt: skip
        if not search.run_id:
            search.study.set_user_attr(RUN, run.id)
        elif search.run_id != run.id:  # the run of another machine's store, or one begun at the same moment
            run.tag(tracking.ORIGIN_TAG, search.run_id)
        with stop_requests() as stop:
            _supervise(search, environment, stop, begun, console)
        found = outcome(search)
        keep(found, run)
        show(found, console)
        if stop:
            raise stop.grant()
    if options.apply and found.changes:
        program = shutil.which("dvc") or str(Path(sys.executable).with_name("dvc"))  # the latter where no one activated
        sys.exit(subprocess.run([program, *found.command[1:]]).returncode)


def _supervise(search: Search, environment: dict[str, str], stop: StopRequest, begun: float, console: Console) -> None:
    """Let workers work until all trials are done, time is over, or somebody asked to stop."""
    tune = search.settings.tune
    clear_up(search)
    done = len(search.finished())
    if done >= tune.trials:
        console.print(f"all {done} trials are done: --trials {2 * done} would go on", highlight=False)
        return
    progress = Progress(console, search.name, tune.trials, tune.epochs, tune.timeout)
    with workforce(search, environment) as force, progress:
        while not stop and force.at_work():
            progress.show(search.trials())
            if tune.timeout and time.monotonic() - begun >= tune.timeout:
                break
            time.sleep(LOOK_SECONDS)
        if stop:
            console.print("stopping: trials at work save their state first", highlight=False)
        force.stop()
        progress.show(search.trials())
    left = len(search.trials()) - len(search.finished())
    done = len(search.finished())
    if not stop and done < tune.trials:
        if not tune.timeout:
            raise UserError(f"the workers left {tune.trials - done} trials: see {search.folder}")
        console.print(
            f"{tune.timeout:g} seconds are over: {done} of {tune.trials} trials are done, {left} were begun and wait; "
            "give the same command again to go on",
            highlight=False,
        )


if __name__ == "__main__":
    main()
