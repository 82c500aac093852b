"""The journal stays readable whoever is killed while writing."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import optuna
import pytest

from src.errors import UserError
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


@pytest.mark.parametrize("text", ["my only notes", "a line\nand another\n", "{}\n", "\0\0"])
def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path, text):
    notes = tmp_path / "notes.txt"
    notes.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"notes\.txt is no journal"):
        open_journal(notes)
    assert notes.read_text(encoding="utf-8") == text


def test_a_journal_cut_in_its_first_line_is_begun_anew(tmp_path):
    path = tmp_path / "journal.log"
    study_in(path).ask()
    path.write_bytes(path.read_bytes()[:7])
    assert not study_in(path).trials


def test_a_damaged_journal_is_named_with_the_way_out(tmp_path):
    path = tmp_path / "journal.log"
    study_in(path).ask()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[0], "rubbish\n", *lines[1:]]), encoding="utf-8")
    with pytest.raises(UserError, match=r"journal\.log is damaged .*: move it away"):
        open_journal(path)


def test_a_place_where_no_file_can_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "journal.log"):
        with pytest.raises(UserError, match=f"cannot be kept in {path} "):
            open_journal(path)
