import base64
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import blank_store
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src import store, tracking
from src.config import Settings

LETTERS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!%", min_size=6, max_size=20)

KILLED_IN_A_MIGRATION = """
import os, signal
from alembic.ddl.sqlite import SQLiteImpl
from src import store

SQLiteImpl.drop_table = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
store.connect()
"""
"""A table has been copied, and its former self not yet dropped."""

KILLED_AFTER_A_RUN = """
import os, signal
from src import store

client = store.connect()
client.create_run(store.experiment_id(client))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "repository"


def recorded(text: str) -> str:
    """The id of a run that keeps `text` as a file."""
    with tracking.run("train", name="LSTM", settings=Settings()) as run:
        run.text(text, "note.txt")
    return run.id


def note(run_id: str) -> str:
    return Path(store.connect().download_artifacts(run_id, "note.txt")).read_text()


def test_the_store_belongs_to_the_repository_that_owns_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = root.parent / "throw-away copy"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    recorded("kept")
    assert (root / "mlruns" / "mlflow.db").exists()
    assert [file.read_text() for file in (root / "mlruns" / "artifacts").glob("*/artifacts/note.txt")] == ["kept"]
    assert list(elsewhere.iterdir()) == []


def test_a_relative_store_is_relative_to_that_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///shared/runs.db")
    store.connect()
    assert (root / "shared" / "runs.db").exists()


@pytest.mark.slow
def test_four_processes_may_make_the_store_at_once(root: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", "from src import store; print(store.experiment_id(store.connect()))"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, answers
    assert len({experiment for experiment, _ in answers}) == 1


@pytest.mark.slow
def test_killed_while_it_is_made_the_store_is_made_anew(root: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_A_MIGRATION], check=False)
    assert killed.returncode == -signal.SIGKILL
    recorded("kept")
    left = {file.name for file in (root / "mlruns").iterdir()}
    assert left - {"mlflow.db-wal", "mlflow.db-shm"} == {"mlflow.db", "mlflow.db.lock", "artifacts"}


@pytest.mark.slow
def test_what_a_killed_process_left_of_a_deleted_store_does_not_come_into_the_new_one(root: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED_AFTER_A_RUN], check=False).returncode == -signal.SIGKILL
    (root / "mlruns" / "mlflow.db").unlink()
    client = store.connect()
    assert client.search_runs([store.experiment_id(client)]) == []


def runs(client: Any) -> int:
    return len(client.search_runs([store.experiment_id(client)]))


def deleted(root: Path) -> None:
    for file in (root / "mlruns").glob("mlflow.db*"):
        file.unlink()


def test_whoever_has_opened_a_store_that_another_process_rebuilds_reads_the_new_one(root: Path) -> None:
    client = store.connect()
    rebuilt = shutil.copy(root / "mlruns" / "mlflow.db", root)
    client.create_run(store.experiment_id(client))
    client.create_registered_model("captioner")
    assert runs(client) == 1

    deleted(root)
    assert runs(client) == 1  # it can still be read, and reading makes nothing in its place
    assert not store.exists()
    shutil.move(rebuilt, root / "mlruns")

    assert runs(client) == 0
    assert runs(store.connect()) == 0
    assert list(client.search_registered_models()) == []


def test_a_process_rebuilds_a_store_that_it_has_opened_before(root: Path) -> None:
    client = store.connect()
    client.create_run(store.experiment_id(client))
    deleted(root)

    assert runs(store.connect()) == 0
    assert store.exists()


def test_runs_keep_their_files_when_the_repository_moves(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = recorded("hello")
    moved = root.rename(root.with_name("a 100% new #name"))
    monkeypatch.setenv("DVC_ROOT", str(moved))
    assert note(run_id) == "hello"
    assert note(recorded("after")) == "after"
    assert not root.exists()


def test_a_copied_repository_does_not_write_into_the_original(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded("hello")
    before = sorted(root.rglob("*.txt"))
    copy = Path(shutil.copytree(root, root.with_name("copy")))
    monkeypatch.setenv("DVC_ROOT", str(copy))
    recorded("in the copy")
    assert sorted(root.rglob("*.txt")) == before
    assert len(list(copy.rglob("note.txt"))) == 2


def test_a_deleted_experiment_comes_back(root: Path) -> None:
    client = store.connect()
    client.delete_experiment(store.experiment_id(client))
    assert note(recorded("again")) == "again"


def test_a_silent_server_is_named_at_once_and_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:hunter2@127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(store.StoreError, match=rf"http://\*\*\*@127.0.0.1:{port} does not answer") as error:
        store.connect()
    assert "hunter2" not in str(error.value)
    assert time.monotonic() - start < 2 * store.REACH_SECONDS


def test_credentials_go_to_the_server_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[str | None] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers["Authorization"])
            self.send_error(401)

        def log_message(self, *arguments: object) -> None:
            return

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # put back after the test
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:hunter%402@127.0.0.1:{server.server_port}")
        with pytest.raises(store.StoreError, match=r"http://\*\*\*@127.0.0.1") as error:
            store.connect()
        server.shutdown()
    assert f"Basic {base64.b64encode(b'ann:hunter@2').decode()}" in heard
    assert "hunter" not in str(error.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "uri", ["postgresql://ann:hunter2@127.0.0.1:1/runs", "nonsense://ann:hunter2@host", "./mlruns", "http://[broken"]
)
def test_a_store_that_cannot_be_opened_is_an_error_without_secrets(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(store.StoreError, match="MLFLOW_TRACKING_URI") as error:
        store.connect()
    assert "hunter2" not in str(error.value)


@given(user=LETTERS, password=LETTERS, token=LETTERS)
def test_no_secret_of_an_address_is_shown(user: str, password: str, token: str) -> None:
    shown = store.redacted(f"https://{user}:{password}@example.org:5000/team?token={token}")
    assert shown == "https://***@example.org:5000/team?token=***"


@pytest.mark.parametrize("uri", ["sqlite:////home/ann/mlruns/mlflow.db", "http://example.org:5000", "databricks"])
def test_an_address_without_secrets_is_shown_as_it_is(uri: str) -> None:
    assert store.redacted(uri) == uri


@pytest.mark.parametrize("name", ["feature%2Fx", "a%20b", "what?", "c#", "ä b"])
def test_a_repository_may_lie_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = tmp_path / name
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert not store.exists()
    blank_store.put(root)
    client = store.connect()
    run = client.create_run(store.experiment_id(client))
    assert store.exists()
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as database:
        assert database.execute("SELECT run_uuid FROM runs").fetchall() == [(run.info.run_id,)]
    assert [path.name for path in tmp_path.iterdir()] == [name]
