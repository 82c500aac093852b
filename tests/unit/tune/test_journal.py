"""The journal stays readable whoever is killed while writing."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import optuna
import pytest

from src.tune.journal import MendingLock, open_journal


def study_in(path: Path) -> optuna.Study:
    return optuna.create_study(storage=open_journal(path), study_name="s", load_if_exists=True)


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_line_cut_short_is_forgotten_and_what_follows_is_whole(tmp_path, cut):
    journal = tmp_path / "deep" / "journal.log"
    study = study_in(journal)
    study.tell(study.ask(), 1.0)
    with journal.open("ab") as file:
        file.write((b'{"op_code":6,"worker_id":"' + b"x" * 5000)[: cut * 80])  # killed in the middle of a line

    for _ in range(2):
        study.tell(study.ask(), 2.0)

    assert [trial.value for trial in study_in(journal).trials] == [1.0, 2.0, 2.0]


def hold(path: Path) -> None:
    MendingLock(path).acquire()
    path.with_name("held").touch()
    time.sleep(600)


def test_a_killed_process_holds_up_nobody(tmp_path):
    journal = tmp_path / "journal.log"
    study = study_in(journal)
    holder = multiprocessing.get_context("forkserver").Process(target=hold, args=(journal,))
    holder.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.05)
    holder.kill()
    holder.join()
    begun = time.monotonic()
    study.tell(study.ask(), 1.0)
    assert time.monotonic() - begun < 20  # Optuna's own lock waits for half a minute
