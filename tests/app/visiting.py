"""How tests reach the page."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE = 60_000
"""Milliseconds: the first picture waits for the models to be loaded, perhaps on a machine that others use too."""

Visit = Callable[..., Page]
"""Opens the page as another visitor: of an address (None: where everything is trained), with a browser's settings."""


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """`python -m src.app` in a folder: its address and its process."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DVC_ROOT", "MLFLOW_TRACKING_URI")}
    search = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
    environment |= {"PYTHONPATH": search, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "src.app", "--port", "0"]
    with (folder / "page.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert "http://" in line, (folder / "page.log").read_text()
            yield line.split()[1], process.pid
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()
