"""A file is whole or it is the former one."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.files import repository_root, write_atomically, write_folder, write_json


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


@pytest.fixture
def folder(tmp_path) -> Path:
    """One with a file, `model`, which says `former`."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "model").write_text("former")
    return folder


def said(folder: Path) -> str:
    """By the file of the folder, beside which there is nothing."""
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]
    return (folder / "model").read_text()


def test_a_folder_takes_the_place_of_the_former_one(folder):
    (folder / "old").touch()
    with write_folder(folder) as fresh:
        (fresh / "model").write_text("new")
        assert (folder / "model").read_text() == "former"
    assert said(folder) == "new"
    assert not (folder / "old").exists()


def test_a_folder_appears_with_those_above_it(tmp_path):
    with write_folder(tmp_path / "new" / "bundle") as fresh:
        (fresh / "model").write_text("new")
    assert said(tmp_path / "new" / "bundle") == "new"


@pytest.mark.parametrize("renaming", [1, 2])
def test_an_error_leaves_the_former_folder(folder, monkeypatch, renaming):
    replace, left = Path.replace, [renaming]

    def failing(old, new):
        left[0] -= 1
        if not left[0]:
            raise OSError("No space left on device")
        return replace(old, new)

    with pytest.raises(KeyError), write_folder(folder) as fresh:
        (fresh / "model").write_text("half")
        raise KeyError
    assert said(folder) == "former"
    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="No space"), write_folder(folder) as fresh:
        (fresh / "model").write_text("new")
    assert said(folder) == "former"


@pytest.mark.parametrize("renaming", [1, 2])
def test_killed_between_two_renamings_the_former_folder_is_fetched_back(folder, renaming):
    script = (
        "import os, signal, pathlib\n"
        "from src.files import write_folder\n"
        f"replace, left = pathlib.Path.replace, [{renaming}]\n"
        "def last(old, new):\n"
        "    left[0] -= 1\n"
        "    if not left[0]:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return replace(old, new)\n"
        "pathlib.Path.replace = last\n"
        f"with write_folder(pathlib.Path({str(folder)!r})) as fresh:\n"
        "    (fresh / 'model').write_text('new')\n"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root).returncode == -signal.SIGKILL
    with pytest.raises(KeyError), write_folder(folder):
        raise KeyError
    assert said(folder) == "former"


@pytest.mark.skipif(sys.platform != "linux", reason="files are named by Linux' /proc")
def test_all_of_a_folder_is_on_disk_before_it_has_its_name(folder, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace
    names = Path("/proc/self/fd")
    monkeypatch.setattr(
        os, "fsync", lambda handle: (order.append((names / str(handle)).readlink().name), fsync(handle))
    )
    monkeypatch.setattr(Path, "replace", lambda old, new: (order.append(f"-> {new.name}"), replace(old, new)))
    with write_folder(folder) as fresh:
        (fresh / "part").mkdir()
        (fresh / "part" / "model").write_text("new")
    flushed = order[: order.index("-> .bundle.former")]
    assert sorted(flushed) == [".bundle.partial", "model", "part"]
    assert order[len(flushed) :] == ["-> .bundle.former", "-> bundle", folder.parent.name]


def test_the_repository_that_owns_a_run_is_the_one_dvc_names(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert repository_root() == tmp_path
    monkeypatch.delenv("DVC_ROOT")
    monkeypatch.chdir(tmp_path)
    assert repository_root() == tmp_path
