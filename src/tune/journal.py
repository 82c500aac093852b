"""Optuna's journal, made to survive processes that are killed while they write.

Optuna's own lock of the file is a link that a killed process leaves behind: the others wait half a minute for it. And
what a killed process wrote of its last line is taken for the beginning of the next one: nobody can read the journal any
more. Here the lock is the kernel's, which ends with its process, and a cut line is removed before the next is written.
"""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from src.errors import UserError

BLOCK = 4096
BEGINNING = b'{"op_code"'
"""Of every line that Optuna writes."""


def open_journal(path: Path) -> JournalStorage:
    """The studies kept in a file, made when it is missing; any number of processes may have it open.

    Raises:
        UserError: it cannot be opened, is something else than a journal (and stays as it is), or is damaged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not _begins_as_a_journal(path):
            raise UserError(f"{path} is no journal of studies and was left alone: name another file (--storage)")
        return JournalStorage(JournalFileBackend(str(path), MendingLock(path)))  # type: ignore[arg-type]
    except OSError as error:
        raise UserError(f"studies cannot be kept in {path} ({error.strerror}): name another file (--storage)") from None
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise UserError(
            f"the journal of studies {path} is damaged ({type(error).__name__}: {error}): move it away and begin anew, "
            "or bring back a copy"
        ) from error


def _begins_as_a_journal(path: Path) -> bool:
    """Or as what a killed process wrote of its first line."""
    with path.open("rb") as file:
        head = file.read(len(BEGINNING))
    return BEGINNING.startswith(head)


class MendingLock:
    """Held by one process at a time, until it releases it or ends; who gets it finds whole lines alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.writing")

    def acquire(self) -> bool:
        self._lock.acquire()
        try:
            _cut_after_the_last_whole_line(self._path)
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_after_the_last_whole_line(path: Path) -> None:
    with path.open("r+b") as file:
        begin = end = file.seek(0, os.SEEK_END)
        tail = b""
        while begin and b"\n" not in tail:
            begin = max(0, begin - BLOCK)
            file.seek(begin)
            tail = file.read(end - begin)
        whole = begin + tail.rfind(b"\n") + 1
        if whole < end:
            file.truncate(whole)
