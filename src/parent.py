"""Who leaves when the process that started it is gone. Imports nothing that takes time: until `leave_with_parent` is
called, a parent that is killed leaves this process behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT = "CAPTIONLAB_PARENT"
"""Environment variable: the id of the process that started this one, by which it knows that it was orphaned before it
could ask the system for a signal."""

_PR_SET_PDEATHSIG = 1
# Looked up here: between fork and exec there may be locks that nobody is left to release.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def sigterm_with_parent() -> None:
    """Ask the system for SIGTERM when the process that started this one ends, however it ends (Linux; elsewhere
    nothing happens). For `preexec_fn` too."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def leave_with_parent() -> None:
    """End by SIGTERM when the process that started this one ends, or has ended where it wrote itself into `PARENT`.
    Without it a killed launcher leaves its processes running."""
    sigterm_with_parent()
    if PARENT in os.environ and os.environ[PARENT] != str(os.getppid()):
        os.kill(os.getpid(), signal.SIGTERM)
