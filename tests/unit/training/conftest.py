"""Runs whose encoder learns, and validations that say what a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import photographed
import pytest
import tiny

from src.training import train as training
from src.training.validation import Validation


@pytest.fixture(scope="session")
def tunable(tmp_path_factory: pytest.TempPathFactory) -> photographed.Tunable:
    return photographed.tunable(tmp_path_factory.mktemp("tunable"))


@pytest.fixture
def better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch is better than the one before."""
    numbers = count(1)
    monkeypatch.setattr(Validation, "_cider", lambda self, own: float(next(numbers)))


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch is worse than the one before."""
    numbers = count(1)
    monkeypatch.setattr(Validation, "_cider", lambda self, own: 1.0 / next(numbers))


@pytest.fixture
def unrecorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In MLflow's place."""

    @contextmanager
    def run(kind: str, **facts: Any) -> Iterator[tiny.Remembered]:
        yield tiny.Remembered()

    monkeypatch.setattr(training.tracking, "run", run)
