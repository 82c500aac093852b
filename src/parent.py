"""Who leaves when the process that started it is gone. Imports nothing that takes time: until `leave_with_parent` is
called, a parent that is killed leaves this process behind."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Looked up here: between fork and exec there may be locks that nobody is left to release.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def leave_with_parent() -> None:
    """Ask the system for SIGTERM when the process that started this one ends, however it ends (Linux; elsewhere
    nothing happens). Without it a killed launcher leaves its processes running."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
