"""Files that are whole or absent, and the root that owns a run."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary neighbour of `path`; when the block ends well it is flushed to disk and takes the name.

    A crash or an error at any moment leaves the former `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def write_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, to be filled; when the block ends well it is flushed to disk and takes the name.

    A crash or an error at any moment leaves the former `folder` as it was: killed between the two renamings, beside
    its place, from where the next call fetches it.
    """
    temporary, former = (folder.with_name(f".{folder.name}.{kind}") for kind in ("partial", "former"))
    _tidy(folder, temporary, former)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        settle(temporary)
        if folder.exists():
            folder.replace(former)
        temporary.replace(folder)
        _sync(folder.parent)
    finally:
        _tidy(folder, temporary, former)


def _tidy(folder: Path, temporary: Path, former: Path) -> None:
    if former.exists() and not folder.exists():
        former.replace(folder)
    for left in (temporary, former):
        shutil.rmtree(left, ignore_errors=True)


def settle(folder: Path) -> None:
    """Have all of a folder flushed to disk: what vouches for it may be written, what it was made of may be removed."""
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and machines alike: indented, UTF-8, NaN refused, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with write_atomically(path) as file:
        file.write(text.encode() + b"\n")


def disk_is_full(error: OSError) -> bool:
    """Whether nothing more could be written because the disk, or the user's share of it, is used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def repository_root() -> Path:
    """The repository that owns the run.

    `dvc exp run --temp` and `--queue` run stages in a throw-away copy and name the real repository in DVC_ROOT;
    stores that must outlive the run (mlruns/) belong there.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def _sync(path: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
