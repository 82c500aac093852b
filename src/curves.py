"""The points of a run's curves, one row per step, as CSV that `dvc plots` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from src.files import write_atomically


class Curves:
    """Every logged point as one row per step, kept in `file` (if any) as CSV that is whole at any moment."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._rows: dict[int, dict[str, float]] = {}

    @property
    def names(self) -> set[str]:
        return {name for row in self._rows.values() for name in row}

    def add(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Take the points that `step` does not have yet, and return them."""
        row = self._rows.setdefault(step, {})
        new = {name: float(value) for name, value in values.items() if name not in row}
        row |= new
        return new

    def write(self) -> None:
        if self._file is None:
            return
        names = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, ["step", *names], lineterminator="\n")
        table.writeheader()
        table.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))
        with write_atomically(self._file) as file:
            file.write(text.getvalue().encode())
