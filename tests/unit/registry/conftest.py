"""A repository of its own for each test, with an empty store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pipelines
import pytest

from src import store
from src.places import Places
from src.registry.promotion import promote
from src.registry.versions import Registry


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "repository"
    monkeypatch.setenv("DVC_ROOT", str(root))
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    return root


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, made once: MLflow takes seconds for its tables."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store.connect()
    return folder / "mlruns"


@pytest.fixture
def registry(root: Path, empty: Path) -> Registry:
    shutil.copytree(empty, root / "mlruns")
    return Registry()


@pytest.fixture
def promoted(registry: Registry, tmp_path: Path) -> Any:
    """`promoted(rnn, val, ...)` makes a pipeline run's results, promotes them and returns the verdict."""
    made: list[Path] = []

    def run(rnn: str = "lstm", val: float = 0.5, **facts: Any) -> dict[str, Any]:
        folder = pipelines.pipeline(tmp_path / f"run-{len(made)}", rnn, val, **{"seed": len(made)} | facts)
        made.append(folder)
        return promote(pipelines.settings(folder), Places.below(folder), registry)

    return run
