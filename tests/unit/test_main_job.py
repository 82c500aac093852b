"""`make repro` finds the data of a fresh clone, whichever data set data.dvc names, and rebuilds a lost registry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
COMMAND = """#!/bin/sh
echo "$(basename $0) $*" >> "$CALLS"
case "$(basename $0) $*" in
    "$HAS") mkdir -p data/$MADE && touch data/$MADE/archive.zip ;;
    "dvc pull"*) exit 1 ;;
    "python -m src.registry list") exit $LISTED ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def main_job(tmp_path: Path):
    """`main_job(dataset, remote)` runs it with a DVC that only records what it is asked, and a remote that has all;
    `listed` is the status of `python -m src.registry list`."""
    shutil.copyfile(PROJECT / "Makefile", tmp_path / "Makefile")
    for name in ("dvc", "python"):
        command = tmp_path / ".venv" / "bin" / name
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text(COMMAND, encoding="utf-8")
        command.chmod(0o755)

    def run(dataset: str, remote: str = "none of them", listed: int = 0) -> tuple[int, str, list[str]]:
        parameters = f"dataset:\n  name: {dataset}   # a comment\n  root: data\n\nmodel:\n  rnn: lstm\n"
        (tmp_path / "params.yaml").write_text(parameters, encoding="utf-8")
        calls = tmp_path / "calls"
        calls.write_text("", encoding="utf-8")
        asked = {"CALLS": str(calls), "HAS": remote, "MADE": dataset, "LISTED": str(listed)}
        command = ["make", "--old-file", ".venv/.complete", "repro"]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | asked, text=True, capture_output=True)
        telling = re.compile("pull|src.data|sync|promote")
        told = [call for call in calls.read_text().splitlines() if telling.search(call)]
        return done.returncode, done.stderr, told

    return run


EMBEDDED, DEFAULT = "dvc pull --remote embedded data.dvc", "dvc pull data.dvc"


def test_the_embedded_remote_is_asked_first_and_only_when_data_is_missing(main_job) -> None:
    assert main_job("sample", EMBEDDED)[::2] == (0, [EMBEDDED])
    assert main_job("sample")[::2] == (0, [])


def test_then_the_default_remote(main_job) -> None:
    assert main_job("flickr8k", DEFAULT)[::2] == (0, [EMBEDDED, DEFAULT])


def test_a_sample_that_no_remote_has_is_drawn(main_job) -> None:
    assert main_job("sample")[::2] == (0, [EMBEDDED, DEFAULT, "python -m src.data.sample"])


def test_beside_data_that_somebody_has_fetched_the_sample_is_drawn(main_job, tmp_path: Path) -> None:
    """DVC would not pull it: what it does not know lies in its way."""
    (tmp_path / "data" / "flickr8k").mkdir(parents=True)
    assert main_job("sample")[::2] == (0, ["python -m src.data.sample"])


def test_photographs_that_no_remote_has_are_an_error_with_a_way_out(main_job) -> None:
    status, printed, fetched = main_job("sample+flickr8k")

    assert (status != 0, fetched) == (True, [EMBEDDED, DEFAULT])
    assert "error: sample flickr8k is missing" in printed
    assert "dvc remote add --default" in printed


REBUILT = ["python -m src.registry sync", "dvc repro --force --single-item promote"]


@pytest.fixture
def data(tmp_path: Path) -> None:
    (tmp_path / "data" / "sample").mkdir(parents=True)
    (tmp_path / "data" / "sample" / "archive.zip").touch()


def test_a_registry_without_a_model_is_rebuilt_even_where_somebody_has_made_a_store(
    data: None, main_job, tmp_path: Path
) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()

    assert main_job("sample", listed=1)[::2] == (0, REBUILT)
    assert main_job("sample", listed=0)[::2] == (0, [])


def test_a_rebuilding_that_was_cut_short_is_done_again(data: None, main_job, tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / ".rebuilding").touch()

    assert main_job("sample")[::2] == (0, REBUILT)
    assert main_job("sample")[::2] == (0, [])


def test_a_registry_that_cannot_be_read_is_not_rebuilt(data: None, main_job) -> None:
    assert main_job("sample", listed=2)[::2] == (0, [])
