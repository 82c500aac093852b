"""The MLflow store as the page shows it: recent runs, and the curves of those that train now or trained last."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from src import store
from src.tracking import EPOCHS_TAG, STOPPED_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

KINDS = ("train", "baseline", "trial")
"""Runs that have curves."""
RECENT = 40
TOGETHER = 6
"""Courses in one chart, at the most."""
FRESH_SECONDS = 2.0
"""How long what was read is good enough for the next visitor."""
SILENT_SECONDS = 600.0
"""Without a new point, after which a run that says it is running may have been killed."""
CURVES = (
    "val_CIDEr",
    "train_loss",
    "val_loss",
    "learning_rate",
    "captions_per_second",
    "memory_peak_MiB",
    "cpu_percent",
    "wait_share",
    "gpu_percent",
    "gpu_memory_peak_MiB",
)
VALIDATION = ("best_val_CIDEr", "captions_val_CIDEr", "val_CIDEr")
"""A run's validation CIDEr: the final figure of a decoder, of BLIP, and while it is on its way."""

Curve = tuple[tuple[int, float], ...]
"""Epochs and values."""


@dataclass(frozen=True)
class RunRow:
    """One run of the store.

    Attributes:
        model: LSTM, GRU, BLIP.
        status: RUNNING, FINISHED, KILLED, FAILED.
        why: what ended it, where it did not end well.
        seconds: since it began, or from beginning to end.
        val, test: CIDEr on validation and test images, where it is known.
        epochs: how many it trains in all, unless it is stopped before; None where the run does not say.
    """

    id: str
    name: str
    kind: str
    model: str
    status: str
    why: str
    started: datetime
    seconds: float
    val: float | None
    test: float | None
    epochs: int | None
    event: str

    @property
    def running(self) -> bool:
        return self.status == "RUNNING"


@dataclass(frozen=True)
class Course:
    """How a run's training goes, or went.

    Attributes:
        curves: name -> points; those that the run does not have are absent.
        silent: seconds since the last point, where it says it is running.
    """

    run: RunRow
    curves: Mapping[str, Curve]
    silent: float = 0.0

    @property
    def epoch(self) -> int:
        return max((curve[-1][0] for curve in self.curves.values() if curve), default=0)


@dataclass(frozen=True)
class History:
    """What the store has. `live` says whether the courses are of runs that go on now."""

    rows: tuple[RunRow, ...] = ()
    courses: tuple[Course, ...] = ()

    @property
    def live(self) -> bool:
        return any(course.run.running and course.silent < SILENT_SECONDS for course in self.courses)


@dataclass
class Histories:
    """Reads the store, for all visitors at most every FRESH_SECONDS."""

    _history: History = field(default_factory=History)
    _read: float = -FRESH_SECONDS
    _client: MlflowClient | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> History:
        """Raises StoreError: the store cannot be opened, or not be read any more."""
        with self._lock:
            if time.monotonic() - self._read >= FRESH_SECONDS:
                if self._client is None and store.exists():
                    self._client = store.connect()
                if self._client is not None:
                    try:
                        self._history = _read(self._client)
                    except Exception as error:  # MLflow's, the database's or the network's
                        self._client = None  # opened anew when somebody looks again
                        raise store.StoreError(
                            f"the MLflow store {store.redacted(store.address())} does not answer any more "
                            f"({type(error).__name__}); the page looks again by itself"
                        ) from None
                self._read = time.monotonic()
            return self._history


def chosen(rows: Sequence[RunRow]) -> list[RunRow]:
    """The runs whose curves are worth seeing: those that train now, and of each model beside them the latest that was
    trained to its end."""
    curved = [row for row in rows if row.kind in KINDS]
    running = [row for row in curved if row.running][:TOGETHER]
    told = {row.model for row in running}
    for row in curved:
        if row.status == "FINISHED" and row.kind != "trial" and row.model not in told and len(running) < TOGETHER:
            told.add(row.model)
            running.append(row)
    return running


def _read(client: MlflowClient) -> History:
    found = client.search_runs(
        [store.experiment_id(client)], max_results=RECENT, order_by=["attributes.start_time DESC"]
    )
    now = datetime.now(UTC)
    rows = tuple(_row(run, now) for run in found)
    return History(rows, tuple(_course(client, row, now) for row in chosen(rows)))


def _row(run: Any, now: datetime) -> RunRow:
    tags, metrics = run.data.tags, run.data.metrics
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    ended = datetime.fromtimestamp(run.info.end_time / 1000, UTC) if run.info.end_time else now
    planned = tags.get(EPOCHS_TAG, "")
    return RunRow(
        id=str(run.info.run_id),
        name=tags.get("mlflow.runName", str(run.info.run_id)[:8]),
        kind=tags.get("kind", ""),
        model=tags.get("model", ""),
        status=str(run.info.status),
        why=tags.get(STOPPED_TAG, ""),
        started=started,
        seconds=(ended - started).total_seconds(),
        val=next((metrics[name] for name in VALIDATION if name in metrics), None),
        test=metrics.get("test_CIDEr"),
        epochs=int(planned) if planned.isdecimal() else None,
        event=tags.get("last_event", ""),
    )


def _course(client: MlflowClient, row: RunRow, now: datetime) -> Course:
    curves: dict[str, Curve] = {}
    latest = row.started
    for name in CURVES:
        points = client.get_metric_history(row.id, name)
        if points:
            curves[name] = tuple(sorted({point.step: point.value for point in points}.items()))
            newest = datetime.fromtimestamp(max(point.timestamp for point in points) / 1000, UTC)
            latest = max(latest, newest)
    return Course(row, curves, (now - latest).total_seconds() if row.running else 0.0)
