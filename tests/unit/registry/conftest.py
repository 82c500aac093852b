"""A repository of its own for each test, with an empty store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import blank_store
import pipelines
import pytest

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


@pytest.fixture
def registry(root: Path) -> Registry:
    blank_store.put(root)
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
