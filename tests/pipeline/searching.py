"""A folder in which a search with real trials takes seconds, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import laboratory
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import FrozenTrial

from benchmarks import searches
from src.tune.study import open_storage

SPACE = {
    "model": {"rnn": ["lstm", "gru"], "dropout": {"low": 0.1, "high": 0.6}},
    "train": {
        "learning_rate": {"low": 0.0003, "high": 0.03, "log": True},
        "clip_norm": {"low": 1.0, "high": 10.0, "when": {"model.rnn": "lstm"}},
    },
}


def set_up(folder: Path, train: dict[str, Any] | None = None, **tune: Any) -> Path:
    """The laboratory with a space to search; `train` and `tune` are parameters of those sections."""
    laboratory.set_up(folder, **(train or {}))
    change(folder, tune={"trials": 6, "epochs": 6, "startup_trials": 2, "space": SPACE} | tune)
    return folder


def change(folder: Path, **sections: dict[str, Any]) -> None:
    """Other parameters in params.yaml."""
    file = folder / "params.yaml"
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, values in sections.items():
        raw[name] = raw.get(name, {}) | values
    file.write_text(yaml.safe_dump(raw), encoding="utf-8")


def trials(folder: Path, storage: str | None = None) -> list[FrozenTrial]:
    """Of the newest study; none before there is one."""
    if storage is None:
        return searches.trials(folder)
    opened = open_storage(storage)
    return opened.get_all_trials(opened.get_all_studies()[-1]._study_id)


def outcomes(folder: Path, storage: str | None = None) -> dict[int, tuple[str, float | None]]:
    """How each finished trial ended, and at which value."""
    return {
        trial.number: (trial.state.name, trial.value) for trial in trials(folder, storage) if trial.state.is_finished()
    }


def runs(folder: Path) -> tuple[list[Run], list[Run]]:
    """MLflow's runs: those of searches, and those of trials by number."""
    found = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db").search_runs(["1"])
    nested = [run for run in found if "tune.trial" in run.data.tags]
    parents = [run for run in found if run.data.tags["kind"] == "tune"]
    return parents, sorted(nested, key=lambda run: int(run.data.tags["tune.trial"]))
