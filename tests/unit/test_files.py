"""A file is whole or it is the former one."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.files import repository_root, sha256, write_atomically, write_json


def test_a_file_appears_whole_with_its_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "state"
    with write_atomically(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["state"]


def test_an_error_while_writing_leaves_the_former_file(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"former")
    with pytest.raises(KeyError), write_atomically(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(("owner", "call"), [(os, "fsync"), (Path, "replace")])
def test_a_full_disk_leaves_the_former_file(tmp_path, monkeypatch, owner, call):
    path = tmp_path / "state"
    path.write_bytes(b"former")

    def full(*arguments):
        raise OSError("No space left on device")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="No space"):
        broken.setattr(owner, call, full)
        with write_atomically(path) as file:
            file.write(b"new")
    assert path.read_bytes() == b"former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_process_killed_while_writing_leaves_the_former_file(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"former")
    script = (
        "import os, signal, pathlib\n"
        "from src.files import write_atomically\n"
        f"with write_atomically(pathlib.Path({str(path)!r})) as file:\n"
        "    file.write(b'half')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"former"


def test_the_content_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("flushed"), fsync(handle)))
    monkeypatch.setattr(Path, "replace", lambda old, new: (order.append("named"), replace(old, new)))
    with write_atomically(tmp_path / "state") as file:
        file.write(b"whole")
    assert order == ["flushed", "named", "flushed"]  # the last one is the folder's


def test_two_writers_at_once_do_not_meet(tmp_path):
    path = tmp_path / "state"
    with write_atomically(path) as first, write_atomically(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"


def test_json_is_for_people_too(tmp_path):
    write_json(tmp_path / "figures.json", {"größe": [1, 2.5], "none": None})
    text = (tmp_path / "figures.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"größe": [1, 2.5], "none": None}
    assert "größe" in text and text.count("\n") > 3 and text.endswith("}\n")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_without_a_number_is_refused_and_the_former_file_stays(tmp_path, value):
    path = tmp_path / "figures.json"
    write_json(path, {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"loss": value})
    assert json.loads(path.read_text()) == {"loss": 1.0}


def test_a_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "data").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "data") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_the_repository_that_owns_a_run_is_the_one_dvc_names(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert repository_root() == tmp_path
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(tmp_path)
    assert repository_root() == tmp_path
