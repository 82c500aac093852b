"""Errors that a person can act on, and how a command shows them: one line, no traceback."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NoReturn

from src.files import disk_is_full

STOPPED = "stopped"


class UserError(Exception):
    """Something outside the program is wrong (a file, a parameter): the message says what, and the way out."""


class Untrainable(UserError):
    """These parameters cannot be trained with; others may."""


class MissingFile(UserError, FileNotFoundError):
    """A file that an earlier stage should have left is not there; the message names the stage."""


@contextmanager
def reported() -> Iterator[None]:
    """Run a command's body: a UserError or a full disk becomes `error: ...` on stderr and exit status 2.

    Ctrl-C becomes `stopped` and the status a shell gives it. Anything else is a fault of the program and keeps its
    traceback. Also usable as a decorator: `@reported()`.
    """
    try:
        yield
    except UserError as error:
        sys.exit(_told(error))
    except OSError as error:
        if not disk_is_full(error):
            raise
        sys.exit(_told(_full(error)))
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def end_at_once(error: Exception) -> NoReturn:
    """Tell of an error as `reported` does, and end the process without waiting for anything."""
    if isinstance(error, UserError):
        status = _told(error)
    elif isinstance(error, OSError) and disk_is_full(error):
        status = _told(_full(error))
    else:
        status = 1
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _full(error: OSError) -> UserError:
    where = f" for {name}" if (name := error.filename2 or error.filename) else ""
    return UserError(f"no space is left on the disk{where}: free some and give the same command again")


def _told(error: UserError) -> int:
    """Say what is wrong; returns the exit status for it."""
    print(f"error: {error}", file=sys.stderr)
    return 2


def stop_quietly_while_starting() -> None:
    """Ctrl-C while `python -m <module of this package>` still imports what its command needs, seconds in which
    `reported` is not there yet, becomes `stopped` too.

    For a package's first lines; where somebody else's program imports the package, nothing changes.
    """
    former = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(STOPPED, file=sys.stderr)
        else:
            former(kind, error, where)

    if sys.argv[:1] == ["-m"]:  # what it holds while Python looks for the module to run
        sys.excepthook = hook
