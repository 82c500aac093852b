"""Where experiments are kept: one MLflow store, opened the same way by every process that reads or writes it.

The store is `MLFLOW_TRACKING_URI` if that is set, else `mlruns/mlflow.db` of the repository that owns the run, with the
runs' files beside it in `mlruns/artifacts/`.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from filelock import FileLock, Timeout

from src.errors import UserError
from src.files import repository_root, write_atomically

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "captionlab"
SQLITE = "sqlite:///"
REACH_SECONDS = 10
LOCK_SECONDS = 120
DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
DECISION_SECONDS = 1800
"""How long a process waits for others that register models: each uploads one meanwhile."""
ARTIFACT_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's database keeps absolute addresses of artifacts."""

log = logging.getLogger(__name__)
_files: dict[str, tuple[int, int]] = {}
"""Which file this process reads under each local store's address: device and inode."""


class StoreError(UserError):
    """The MLflow store cannot be used; the message names it, without credentials, and the way out."""


def address() -> str:
    """The store's URI. It may hold credentials: show it only through `redacted`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _uri(repository_root() / "mlruns" / "mlflow.db")


def redacted(uri: str) -> str:
    """`uri` fit for logs and tags: the user's part and every value of the query are replaced by ***."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "***"
    host = f"***@{_host(parts)}" if "@" in parts.netloc else parts.netloc
    query = "&".join(f"{field.partition('=')[0]}=***" for field in parts.query.split("&") if field)
    start = f"{parts.scheme}://" if "://" in uri else f"{parts.scheme}:" if parts.scheme else ""
    return f"{start}{host}{parts.path}{'?' + query if query else ''}"


def connect() -> MlflowClient:
    """Open the store, making or migrating it first if need be.

    Any number of processes may do so at once: MLflow's own migration of a local store is not safe against that, so it
    happens under a file lock. A local store that was moved or copied with its folder has its artifacts' addresses put
    right.

    Raises:
        StoreError: the store cannot be reached, or is of a kind that MLflow no longer writes.
    """
    uri = address()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read while mlflow is imported
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for talker in ("alembic", "mlflow.store.db.utils"):  # forty lines for a new store
        logging.getLogger(talker).setLevel(logging.WARNING)
    try:
        if uri.startswith(SQLITE):
            return _open_file(uri)
        if urlsplit(uri).scheme in ("http", "https"):
            return _open_server(uri)
        _reach_database(uri)
        return _open(uri, artifacts=_artifact_folder(repository_root() / "mlruns"))
    except StoreError:
        raise
    except Exception as error:
        # `from None`: the driver's own message and traceback may spell out the credentials.
        raise StoreError(
            f"The MLflow store {redacted(uri)} cannot be opened ({_without_secrets(error, uri)}): "
            "check MLFLOW_TRACKING_URI, or unset it to keep runs in mlruns/mlflow.db"
        ) from None


def exists() -> bool:
    """Whether there is anything to open: a database file, or an address of a server or of another database.

    `connect` would make the file; who only looks asks first.
    """
    uri = address()
    return not uri.startswith(SQLITE) or _is_made(_database(uri))


def experiment_id(client: MlflowClient) -> str:
    """The number MLflow gave to the experiment that holds all runs of this project.

    Of the store that is there now: one that was deleted and rebuilt since the client was opened is opened anew.
    """
    _follow_the_file(client)
    return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


@contextmanager
def deciding() -> Iterator[None]:
    """Within the block the registry is read and acted on: of this machine's processes one at a time is in it.

    Raises:
        StoreError: another one has been in it for half an hour.
    """
    uri = address()
    folder = _database(uri).parent if uri.startswith(SQLITE) else repository_root() / "mlruns"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "registry.lock")
    try:
        lock.acquire(timeout=DECISION_SECONDS)
    except Timeout:
        raise StoreError(
            f"{lock.lock_file} is held by a process that registers models: wait for it, or end it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _open_file(uri: str) -> MlflowClient:
    database = _database(uri)
    database.parent.mkdir(parents=True, exist_ok=True)
    artifacts = _artifact_folder(database.parent)
    with FileLock(f"{database}.lock", timeout=LOCK_SECONDS):
        if not _is_made(database):
            _make_file(database, artifacts)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # readers (the UI) and writers do not wait for one another
            _follow_a_move(connection, artifacts)
        return _open_database(database, artifacts)


def _make_file(database: Path, artifacts: str) -> None:
    """MLflow makes a new store by forty migrations, and cannot go on where one was killed: so it makes it aside."""
    draft = database.with_name(f".{database.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    made = draft / secrets.token_hex(4)  # MLflow thinks that it knows a name which was there before
    try:
        _open_database(made, artifacts)
        # What a process that was killed has left of a store that was deleted, SQLite would put into the new one.
        for left in ("-wal", "-shm"):
            database.with_name(f"{database.name}{left}").unlink(missing_ok=True)
        with write_atomically(database) as file:
            file.write(made.read_bytes())
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_made(database: Path) -> bool:
    return database.exists() and database.stat().st_size > 0  # who only opens it with SQLite leaves an empty file


def _database(uri: str) -> Path:
    return (repository_root() / unquote(uri.removeprefix(SQLITE).partition("?")[0])).resolve()


def _uri(database: Path) -> str:
    return f"{SQLITE}{_quoted(database)}"


def _quoted(path: Path) -> str:
    """What SQLAlchemy takes for the path: a folder's name may hold what means something in its addresses."""
    return str(path).replace("%", "%25").replace("?", "%3F")


def _open_database(database: Path, artifacts: str) -> MlflowClient:
    # MLflow makes the folder that the address names as it stands, quoted or not.
    named = Path(_quoted(database.parent))
    strays = [folder for folder in (named, *named.parents) if not folder.exists()]
    try:
        return _open(_uri(database), artifacts)
    finally:
        for stray in strays:
            with suppress(OSError):
                stray.rmdir()


def _open_server(uri: str) -> MlflowClient:
    _reach(uri)
    parts = urlsplit(uri)
    if parts.username:  # given to MLflow apart from the address, which it prints with every run
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
    return _open(parts._replace(netloc=_host(parts)).geturl(), artifacts=None)


def _open(uri: str, artifacts: str | None) -> MlflowClient:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    _follow_the_file(client)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        try:
            client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        except MlflowException:  # another machine made it in between, or the store refuses: the next line tells
            if client.get_experiment_by_name(EXPERIMENT) is None:
                raise
    elif experiment.lifecycle_stage == "deleted":
        log.warning("The experiment %s was deleted from %s: restored.", EXPERIMENT, redacted(uri))
        client.restore_experiment(experiment.experiment_id)
    return client


def _follow_the_file(client: MlflowClient) -> None:
    """MLflow keeps its connections, which stay with a file that was deleted: once another has its name, drop them."""
    uri = client.tracking_uri
    if not uri.startswith(SQLITE):
        return
    try:
        status = _database(uri).stat()
    except FileNotFoundError:
        return  # and not rebuilt yet: SQLite would make an empty file
    file = (status.st_dev, status.st_ino)  # not used again while a connection holds it
    if _files.setdefault(uri, file) != file:
        for service in (client._tracking_client, client._get_registry_client()):
            service.store.engine.dispose()
        _files[uri] = file


def _follow_a_move(connection: sqlite3.Connection, artifacts: str) -> None:
    """Artifacts lie beside the database, but MLflow stores absolute addresses: rewrite them after a move or a copy."""
    if not _columns(connection, "experiments"):
        return
    query = "SELECT artifact_location FROM experiments WHERE name = ?"
    former = next((row[0] for row in connection.execute(query, (EXPERIMENT,))), None)
    if former in (None, artifacts) or not former.startswith("file:"):
        return
    log.warning("The store has moved: artifacts recorded under %s are now looked for under %s.", former, artifacts)
    with connection:
        for table, column in ARTIFACT_COLUMNS:
            if column in _columns(connection, table):
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                    (artifacts, len(former) + 1, len(former) + 1, f"{former}/"),
                )


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def _artifact_folder(folder: Path) -> str:
    return (folder / "artifacts").as_uri()


def _reach(uri: str) -> None:
    """Ask the server for a sign of life: MLflow itself would try for minutes before it says that there is none."""
    parts = urlsplit(uri)
    health = parts._replace(netloc=_host(parts), path=f"{parts.path.rstrip('/')}/health", query="").geturl()
    try:
        urllib.request.urlopen(health, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answered, if only to ask who we are
    except OSError as error:
        raise StoreError(
            f"The MLflow server {redacted(uri)} does not answer ({getattr(error, 'reason', error)}): start it, correct "
            "MLFLOW_TRACKING_URI, or unset that to keep runs in mlruns/mlflow.db"
        ) from None


def _reach_database(uri: str) -> None:
    """Knock at the database: MLflow itself would try for a minute and a half before it says that nobody is there."""
    parts = urlsplit(uri)
    port = parts.port or DATABASE_PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname is None or port is None:
        return
    try:
        socket.create_connection((parts.hostname, port), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise StoreError(
            f"The database {redacted(uri)} does not answer ({error.strerror or error}): start it, correct "
            "MLFLOW_TRACKING_URI, or unset that to keep runs in mlruns/mlflow.db"
        ) from None


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _without_secrets(error: Exception, uri: str) -> str:
    text = f"{type(error).__name__}: {error}".replace(uri, redacted(uri))
    try:
        password = urlsplit(uri).password
    except ValueError:
        return "not an address"
    for secret in (password, unquote(password)) if password else ():
        text = text.replace(secret, "***")
    return text
