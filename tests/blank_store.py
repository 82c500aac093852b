"""An MLflow store without a run, made once per process: MLflow takes seconds to make its tables."""

from __future__ import annotations

import functools
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from src import store


def put(root: Path) -> None:
    """Give a repository a store that nobody has used yet."""
    (root / "mlruns").mkdir(parents=True)
    shutil.copyfile(Path(_folder().name) / "blank.db", root / "mlruns" / "mlflow.db")


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", folder.name)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        store.connect()
    # One file, whatever SQLite has not yet written into the one that is open.
    with closing(sqlite3.connect(Path(folder.name) / "mlruns" / "mlflow.db")) as made:
        made.execute("VACUUM INTO ?", (str(Path(folder.name) / "blank.db"),))
    return folder
