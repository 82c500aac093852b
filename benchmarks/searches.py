"""A folder in which searches run without touching this one's: its data and features, parameters of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from optuna.trial import FrozenTrial

from src.errors import UserError
from src.tune.study import JOURNAL, open_storage

INPUTS = ("outputs/dataset", "outputs/embeddings")


def workplace(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> Path:
    """Make `folder` one with this folder's prepared data and params.yaml, `changes` made in its sections.

    Raises:
        UserError: data or features are missing.
    """
    for name in INPUTS:
        source = Path(name)
        if not source.exists():
            raise UserError(f"{name} is missing: run `dvc repro embed`")
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source.resolve())
    parameters = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    for section, values in changes.items():
        parameters[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """For commands in that folder: this project's code, a store of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "OPTUNA_"))}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[1]), "DVC_ROOT": str(folder)}


def trials(folder: Path) -> list[FrozenTrial]:
    """Of the newest study in the folder's journal; none before there is one."""
    journal = folder / "mlruns" / "optuna" / JOURNAL
    if not journal.exists():
        return []
    storage = open_storage(str(journal))
    studies = storage.get_all_studies()
    return storage.get_all_trials(studies[-1]._study_id) if studies else []


def finished_trials(folder: Path) -> list[FrozenTrial]:
    return [trial for trial in trials(folder) if trial.state.is_finished()]
