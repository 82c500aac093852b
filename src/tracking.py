"""The only file that writes runs to MLflow and, with the same call, the curves that `dvc plots` reads.

    with tracking.run("train", name="LSTM", settings=settings, hashes={"dataset": digest}, curves=path) as run:
        run.log(step, {"train_loss": 2.1, "val_CIDEr": 0.8})

A later stage that has the run's id adds to it: `tracking.attach(id, ...).summary({"test_CIDEr": 0.9})`.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from src import provenance, store
from src.config import Settings, fingerprint
from src.curves import Curves
from src.run_page import markdown

if TYPE_CHECKING:
    from mlflow import MlflowClient

EVENTS_FILE = "events.jsonl"
SAMPLING_SECONDS = 4
BATCH = 100
"""Parameters that MLflow takes at once."""
TEXT_LIMIT = 5000
"""Characters that MLflow keeps of a tag."""
SUMMARY_TAG = "captionlab.summary"
ORIGIN_TAG, TICKET_TAG = "captionlab.continues", "captionlab.ticket"
STOPPED_TAG = "stopped_by"
EPOCHS_TAG = "epochs"
"""How many a run trains in all, unless it is stopped before."""

log = logging.getLogger(__name__)


class Terminated(SystemExit):
    """SIGTERM arrived; like Ctrl-C it ends a run as KILLED, not as FAILED."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Pruned(Exception):
    """The run promised less than others and was ended: as KILLED, for it neither failed nor reached its end."""


class Run(Protocol):
    """What the rest of the project sees of a run."""

    @property
    def id(self) -> str:
        """MLflow's run id; empty for a run that is not recorded."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each named curve; a point that a resumed run has already is not added again."""

    def event(self, step: int, text: str) -> None:
        """Note a decision or an incident: a log line, and a line of the run's events.jsonl."""

    def summary(self, values: Mapping[str, float]) -> None:
        """Set final figures, shown in MLflow's table of runs and on the run's page; later values replace earlier.

        Raises ValueError for the name of a curve: its last point would be taken for the figure.
        """

    def tag(self, name: str, value: str) -> None:
        """Set a fact about the run to search for."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Keep a copy of a file, or of all files in a folder, under `folder` of the run's files."""

    def text(self, text: str, name: str) -> None:
        """Keep `text` as the file `name`."""

    def table(self, rows: Sequence[Mapping[str, object]], name: str) -> None:
        """Keep rows of the same columns as `name` (.json), a table that MLflow shows side by side with other runs'."""


class Silent:
    """A run that records nothing: for every process but the first, which speaks for all."""

    id = ""

    def _nothing(self, *values: object, **named: object) -> None:
        return

    log = event = summary = tag = artifact = text = table = _nothing


class Recorded:
    """A run in the store. Made by `run` and `attach`."""

    def __init__(self, client: MlflowClient, run_id: str, curves: Path | None = None) -> None:
        self.id = run_id
        self._client = client
        self._curves = Curves(curves)
        self._events: list[dict[str, Any]] | None = None
        data = client.get_run(run_id).data
        figures = json.loads(data.tags.get(SUMMARY_TAG, "{}"))
        for name in data.metrics:
            if name not in figures and not name.startswith("system/"):
                for point in client.get_metric_history(run_id, name):
                    self._curves.add(point.step, {name: point.value})
        self._curves.write()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._send(step, self._curves.add(step, values))
        self._curves.write()

    def event(self, step: int, text: str) -> None:
        log.info("step %d: %s", step, text)
        events = self.events
        if any(event["step"] == step and event["text"] == text for event in events):
            return
        events.append({"step": step, "time": datetime.now(UTC).isoformat(timespec="seconds"), "text": text})
        self.text("".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events), EVENTS_FILE)
        self.tag("last_event", f"step {step}: {text}")

    def summary(self, values: Mapping[str, float]) -> None:
        if drawn := self._curves.names & values.keys():
            raise ValueError(f"{', '.join(sorted(drawn))}: the run has curves of that name, give final figures another")
        data = self._client.get_run(self.id).data
        former = json.loads(data.tags.get(SUMMARY_TAG, "{}"))
        # The names first: after a crash in between, a resumed run must not take these figures for curves.
        self.tag(SUMMARY_TAG, json.dumps(former | {name: float(value) for name, value in values.items()}))
        self._send(0, {name: float(value) for name, value in values.items() if data.metrics.get(name) != value})
        self.describe()

    def tag(self, name: str, value: str) -> None:
        self._client.set_tag(self.id, name, value[:TEXT_LIMIT])

    def artifact(self, path: Path, folder: str = "") -> None:
        if path.is_dir():
            self._client.log_artifacts(self.id, str(path), folder or None)
        else:
            self._client.log_artifact(self.id, str(path), folder or None)

    def text(self, text: str, name: str) -> None:
        self._client.log_text(self.id, text, name)

    def table(self, rows: Sequence[Mapping[str, object]], name: str) -> None:
        # Not `log_table`: that appends to the rows of an interrupted attempt.
        columns = list(dict.fromkeys(column for row in rows for column in row))
        data = [[row.get(column) for column in columns] for row in rows]
        self.text(json.dumps({"columns": columns, "data": data}, ensure_ascii=False), name)
        tables = json.loads(self._client.get_run(self.id).data.tags.get("mlflow.loggedArtifacts", "[]"))
        entry = {"path": name, "type": "table"}
        if entry not in tables:
            self.tag("mlflow.loggedArtifacts", json.dumps([*tables, entry]))

    def describe(self) -> None:
        """Write the page that MLflow shows first for a run: what it is, what it reached."""
        run = self._client.get_run(self.id)
        figures = json.loads(run.data.tags.get(SUMMARY_TAG, "{}"))
        self.tag("mlflow.note.content", markdown(run.data.params, run.data.tags, figures))

    def parameters(self, settings: Settings) -> None:
        """Record every parameter; one that a resumed run had differently stays, and the change becomes an event."""
        from mlflow.entities import Param

        former = self._client.get_run(self.id).data.params
        now = {name: str(value) for name, value in settings.flat().items()}
        new = [Param(name, value) for name, value in now.items() if name not in former]
        for start in range(0, len(new), BATCH):
            self._client.log_batch(self.id, params=new[start : start + BATCH])
        for name in sorted(now.keys() & former.keys()):
            if now[name] != former[name]:
                self.event(0, f"resumed with {name} = {now[name]}, begun with {former[name]}")

    def inputs(self, hashes: Mapping[str, str], names: Mapping[str, str]) -> None:
        """Record what was read: as tags in full, and as MLflow's datasets, whose digest is short."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        for role, digest in hashes.items():
            self.tag(f"{role}.digest", digest)
        known = {dataset.dataset.digest for dataset in self._client.get_run(self.id).inputs.dataset_inputs}
        datasets = [
            DatasetInput(
                Dataset(names.get(role, role), digest[:36], "local", json.dumps({"uri": f"outputs/{role}"})),
                [InputTag("mlflow.data.context", role)],
            )
            for role, digest in hashes.items()
            if digest[:36] not in known
        ]
        if datasets:
            self._client.log_inputs(self.id, datasets)

    def _send(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        if values:
            self._client.log_batch(self.id, [Metric(name, value, now, step) for name, value in values.items()])

    @property
    def events(self) -> list[dict[str, Any]]:
        """What `event` noted so far, oldest first: step, time, text."""
        if self._events is None:
            self._events = []
            if any(file.path == EVENTS_FILE for file in self._client.list_artifacts(self.id)):
                # MLflow does not copy files atomically: a kill may cut the last line, in the midst of a letter too.
                whole, _, _ = Path(self._client.download_artifacts(self.id, EVENTS_FILE)).read_bytes().rpartition(b"\n")
                self._events = [json.loads(line) for line in whole.splitlines()]
        return self._events


@contextmanager
def run(
    kind: str,
    *,
    name: str,
    settings: Settings,
    hashes: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    resume: str | None = None,
    ticket: str | None = None,
    curves: Path | None = None,
    goes_on: Callable[[], bool] = lambda: False,
) -> Iterator[Recorded]:
    """Record what happens in the block as one MLflow run, with system metrics sampled beside it.

    The run ends as FINISHED, as KILLED (Ctrl-C, SIGTERM, pruned), or as FAILED, and the exception goes on its way.

    Args:
        kind: what is done: 'train', 'tune', 'baseline'.
        name: what people compare, 'LSTM' for one; the DVC experiment's name is appended.
        hashes: digest of each input by role: {'dataset': ..., 'embeddings': ...}.
        resume: id of an interrupted run to go on with. Points, events, parameters it has are not recorded twice. If the
            store does not have it (any more), a new run says so and takes its place.
        ticket: what a run without an id to resume can be called: one that was begun with it is gone on with, for
            its process may have been killed before anybody could note the id.
        curves: CSV for `dvc plots`: one row per step, all points of the run from its beginning.
        goes_on: asked at the end whether others are still at work on this run: it stays RUNNING then.

    Raises:
        StoreError: the store cannot be opened.
    """
    with sigterm_raises():
        client = store.connect()
        found = _find(client, resume) if resume else _tagged(client, TICKET_TAG, ticket) if ticket else None
        facts = _facts(kind, name, settings) | dict(tags or {})
        if found:
            client.update_run(found, status="RUNNING")
            if STOPPED_TAG in client.get_run(found).data.tags:
                client.delete_tag(found, STOPPED_TAG)
            for tag, value in facts.items():
                client.set_tag(found, tag, value[:TEXT_LIMIT])
        born = {ORIGIN_TAG: resume} if resume else {TICKET_TAG: ticket} if ticket else {}
        recorded = Recorded(client, found or _create(client, facts | born), curves)
        monitor = _system_metrics(recorded.id, client, resumed=bool(found))
        try:
            recorded.parameters(settings)
            recorded.inputs(hashes or {}, {"dataset": settings.dataset.name, "embeddings": settings.embed.encoder})
            recorded.describe()
            if resume and not found:
                recorded.event(0, f"goes on from run {resume}, which this store does not have: its curves are missing")
            yield recorded
        except BaseException as error:
            # Whatever the store says now must not hide why the run ended.
            try:
                monitor.finish()
                if not goes_on():
                    recorded.tag(STOPPED_TAG, f"{type(error).__name__}: {error}")
                    client.set_terminated(recorded.id, _status(error))
            except Exception:
                log.exception("MLflow could not be told that run %s ended", recorded.id)
            raise
        recorded.describe()
        monitor.finish()
        if not goes_on():
            client.set_terminated(recorded.id, "FINISHED")


def attach(run_id: str, *, name: str, settings: Settings) -> Recorded:
    """Reach the run that trained a model, to add what later stages learn about it; its status stays as it is.

    A model that came with `dvc pull` or out of DVC's run cache was trained by a run that this store may not have. Then
    one stand-in, found again by every later call, takes what is added and names the run it stands for. So it is where
    search or metrics are not those of the training run: figures never stand beside parameters that did not make them.

    Raises:
        StoreError: the store cannot be opened.
    """
    client = store.connect()
    found, origin = _find(client, run_id), run_id
    if found is not None and not _searched_alike(client, found, settings):
        origin = f"{run_id}/{fingerprint(settings.decode, settings.evaluate)}"
        found = _tagged(client, ORIGIN_TAG, origin)
    if found is None:
        found = _create(client, _facts("restored", name, settings) | {ORIGIN_TAG: origin})
        Recorded(client, found).parameters(settings)
        client.set_terminated(found, "FINISHED")
    return Recorded(client, found)


def here(run_id: str) -> str:
    """The id that a run has in this store: its own, or that of the run that took its place; empty for neither.

    Raises:
        StoreError: the store cannot be opened.
    """
    return _find(store.connect(), run_id) or ""


def conclude(run_id: str, tags: Mapping[str, str]) -> None:
    """Tag a run whose process was killed before it could say how it ended: it failed, unless it had ended before.
    Nothing happens to a run that the store lacks.

    Raises:
        StoreError: the store cannot be opened.
    """
    client = store.connect()
    if found := _find(client, run_id):
        for tag, value in tags.items():
            client.set_tag(found, tag, value[:TEXT_LIMIT])
        if client.get_run(found).info.status == "RUNNING":
            client.set_terminated(found, "FAILED")


def events(run_id: str) -> list[tuple[int, str]]:
    """Decisions and incidents of a run, (step, text) in the order they came; none of a run that the store lacks.

    Raises:
        StoreError: the store cannot be opened.
    """
    client = store.connect()
    found = _find(client, run_id)
    return [(event["step"], event["text"]) for event in Recorded(client, found).events] if found else []


def _find(client: MlflowClient, run_id: str) -> str | None:
    """The run, or the one that took its place in this store; None if neither is there or both were deleted."""
    from mlflow.exceptions import MlflowException

    try:
        if client.get_run(run_id).info.lifecycle_stage == "active":
            return run_id
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    return _tagged(client, ORIGIN_TAG, run_id)


def _tagged(client: MlflowClient, tag: str, value: str) -> str | None:
    runs = client.search_runs([store.experiment_id(client)], f"tags.`{tag}` = '{value}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _searched_alike(client: MlflowClient, run_id: str, settings: Settings) -> bool:
    """Whether the run's parameters for search and metrics are these."""
    recorded, now = client.get_run(run_id).data.params, settings.flat()
    names = [name for name in now if name.startswith(("decode.", "evaluate."))]
    return all(recorded.get(name) == str(now[name]) for name in names)


def _create(client: MlflowClient, facts: Mapping[str, str]) -> str:
    tags = {tag: value[:TEXT_LIMIT] for tag, value in facts.items()}
    return str(client.create_run(store.experiment_id(client), tags=tags).info.run_id)


def _facts(kind: str, name: str, settings: Settings) -> dict[str, str]:
    came_from = provenance.tags()
    experiment = came_from.get("dvc.experiment")
    return came_from | {
        "mlflow.runName": f"{name} ({experiment})" if experiment else name,
        "mlflow.source.name": f"stages.{kind}",
        "mlflow.source.type": "LOCAL",
        "kind": kind,
        "model": name,
        "dataset": settings.dataset.name,
        "encoder": settings.embed.encoder,
        "cell": settings.model.rnn,
    }


def _system_metrics(run_id: str, client: MlflowClient, resumed: bool) -> Any:
    """MLflow's own sampling thread, begun: processor, memory, disk, network, and GPUs where there are any."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
    monitor = SystemMetricsMonitor(
        run_id, sampling_interval=SAMPLING_SECONDS, resume_logging=resumed, tracking_uri=client.tracking_uri
    )
    monitor.start()
    return monitor


def _status(error: BaseException) -> str:
    return "KILLED" if isinstance(error, KeyboardInterrupt | Terminated | Pruned) else "FAILED"


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the block SIGTERM unwinds the stack, unless somebody handles it already."""

    def unwind(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the good-bye short
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
