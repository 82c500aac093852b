"""What came out of a search: the best parameters beside those of params.yaml, the command that makes them an
experiment, and what the search's MLflow run keeps."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from src.files import write_atomically
from src.search_space import Range
from src.tracking import Run
from src.tune.desk import ERROR
from src.tune.study import COMMAND_FILE, Search
from src.tune.suggestions import Overrides, own
from src.tune.table import STATES, shown


@dataclass(frozen=True)
class Outcome:
    """A search's complete trials, best first. The one of params.yaml is among them unless it is not done yet, was
    pruned or failed."""

    search: Search
    ranking: list[FrozenTrial]

    @property
    def best(self) -> FrozenTrial | None:
        return self.ranking[0] if self.ranking else None

    @property
    def own(self) -> FrozenTrial | None:
        """The trial of params.yaml as it is, however it ended."""
        values = own(self.search.settings)
        return next((trial for trial in [*self.ranking, *self.search.finished()] if trial.params == values), None)

    @property
    def changes(self) -> Overrides:
        """What the best trial has otherwise than params.yaml."""
        values = own(self.search.settings)
        found = self.best.params if self.best else {}
        return {key: value for key, value in found.items() if values.get(key) != value}

    @property
    def command(self) -> list[str]:
        """`dvc exp run` with the best trial's parameters, over the epochs of params.yaml."""
        options = [["-S", f"{key}={value}"] for key, value in self.changes.items()]
        return ["dvc", "exp", "run", *(word for option in options for word in option)]


def outcome(search: Search) -> Outcome:
    complete = [trial for trial in search.trials() if trial.state == TrialState.COMPLETE]
    return Outcome(search, sorted(complete, key=lambda trial: cast(float, trial.value), reverse=True))


def show(found: Outcome, console: Console) -> None:
    """Print the best parameters against those of params.yaml, and the command that trains them."""
    best = found.best
    if best is None:
        console.print("no trial is complete yet: give the same command again to go on", highlight=False)
        return
    table = Table("", "params.yaml", f"trial {best.number}", title="Best parameters", title_justify="left", box=None)
    table.add_row("validation CIDEr", *(_reached(trial) for trial in (found.own, best)))
    values = own(found.search.settings)
    for key in dict.fromkeys([*values, *best.params]):
        cells = [shown(from_[key]) if key in from_ else "" for from_ in (values, best.params)]
        table.add_row(key, *cells, style="bold" if key in found.changes else "")
    console.print(table)
    if not found.changes:
        console.print("\nNothing that was tried is better than params.yaml as it is.")
        return
    console.print("\nTrain it to the end, as an experiment:\n")
    console.print(f"  {shlex.join(found.command)}\n", highlight=False, soft_wrap=True)


def keep(found: Outcome, run: Run) -> None:
    """Leave the command in the study's folder; figures, importances, all trials and the best in the search's run."""
    search, best = found.search, found.best
    trials = search.trials()
    run.table([_row(trial) for trial in trials], "trials.json")
    for state, name in STATES.items():
        run.tag(f"tune.{name}", str(sum(trial.state == state for trial in trials)))
    if best is None:
        return
    command = search.folder / COMMAND_FILE
    if found.changes:
        with write_atomically(command) as file:
            file.write(f"{shlex.join(found.command)}\n".encode())
        run.artifact(command)
    else:  # what was better before params.yaml's own trial was done is not the best any more
        command.unlink(missing_ok=True)
    run.summary({"best_val_CIDEr": cast(float, best.value)})
    if found.own is not None and found.own.state == TrialState.COMPLETE:
        run.summary({"own_val_CIDEr": cast(float, found.own.value)})
    run.tag("tune.best_trial", str(best.number))
    for key in search.settings.tune.space:
        run.tag(f"best.{key}", str(best.params.get(key, "")))  # also over what an earlier best had and this one has not
    for picture in _draw(search, trials):
        run.artifact(picture, "search")


def importances(search: Search) -> Mapping[str, float]:
    """Each parameter's share of the differences between complete trials; empty where there are too few to tell."""
    # Imported late, as Matplotlib is: a search asks for them at its end, and they take as long as all the rest.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        try:
            return get_param_importances(search.study, evaluator=FanovaImportanceEvaluator(seed=search.settings.seed))
        except (ValueError, RuntimeError):  # fewer than two complete trials, or all of one value
            return {}


def _draw(search: Search, trials: list[FrozenTrial]) -> list[Path]:
    from src.visualize import search as figures
    from src.visualize.style import save

    tried = [
        figures.Tried(
            trial.number,
            cast(Literal["complete", "pruned"], STATES[trial.state]),
            trial.value,
            trial.intermediate_values,
            trial.params,
        )
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.value is not None
    ]
    space = search.settings.tune.space
    logarithmic = frozenset(key for key, entry in space.items() if isinstance(entry, Range) and entry.log)
    drawn = {
        "history": figures.history_figure(tried),
        "intermediate-values": figures.epochs_figure(tried),
        "parallel-coordinates": figures.parallel_figure(tried, logarithmic),
    }
    if found := importances(search):
        drawn["importances"] = figures.importance_figure(found, sum(one.outcome == "complete" for one in tried))
    for name, figure in drawn.items():
        save(figure, search.folder / "figures" / f"{name}.png")
    return [search.folder / "figures" / f"{name}.png" for name in drawn]


def _reached(trial: FrozenTrial | None) -> str:
    if trial is None:
        return "not done"
    value = "" if trial.value is None else f"{trial.value:.3f}"
    return value if trial.state == TrialState.COMPLETE else f"{STATES[trial.state]} {value}".strip()


def _row(trial: FrozenTrial) -> dict[str, object]:
    failed = trial.state == TrialState.FAIL and ERROR in trial.user_attrs  # others' attempts may have met one, too
    error = {"error": trial.user_attrs[ERROR]} if failed else {}
    epochs = len(trial.intermediate_values)
    return {
        "trial": trial.number, "state": STATES[trial.state], "val_CIDEr": trial.value, "epochs": epochs, **trial.params,
        **error,
    }  # fmt: skip
