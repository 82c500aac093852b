"""A state is whole or it is not used; a run that is over leaves none."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from src.errors import UserError
from src.training import resume
from src.training.resume import KEEP, ResumeFolder, SavedState


@pytest.fixture
def folder(tmp_path):
    folder = ResumeFolder(tmp_path, "run")
    yield folder
    folder.close()


def state(step: int) -> SavedState:
    return SavedState(
        {"weight": torch.full((3, 2), step + 0.1), "moment": torch.tensor(step), "half": torch.ones(2).bfloat16()},
        {"progress": {"step": step, "loss": 0.1 + step}, "scaler": {}},
    )


def newest(folder: ResumeFolder) -> int:
    found = folder.load()
    assert found is not None
    return found.facts["progress"]["step"]


def paths(folder: ResumeFolder) -> list[Path]:
    return sorted(folder.folder.glob("state-*"))


def test_a_new_run_has_no_state(folder):
    assert folder.load() is None


def test_attempts_of_a_run_have_one_ticket_and_the_next_run_another(tmp_path, folder):
    ticket = folder.ticket
    folder.close()
    again = ResumeFolder(tmp_path, "run")
    assert again.ticket == ticket
    again.remove()
    assert again.ticket != ticket
    again.close()


def test_what_was_saved_comes_back_to_the_last_bit(folder):
    folder.save(7, state(7))
    found = folder.load()
    assert found.facts == state(7).facts
    assert found.tensors.keys() == state(7).tensors.keys()
    for name, value in state(7).tensors.items():
        assert found.tensors[name].dtype == value.dtype
        assert torch.equal(found.tensors[name], value)


def test_the_newest_state_is_used_and_a_few_are_kept(folder):
    for step in (5, 200, 1000, 1001):
        folder.save(step, state(step))
    assert newest(folder) == 1001
    assert len(paths(folder)) == KEEP


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign"])
def test_the_state_before_a_damaged_one_is_used_with_a_warning(folder, damage):
    folder.save(1, state(1))
    folder.save(2, state(2))
    path = paths(folder)[-1]
    data = bytearray(path.read_bytes())
    if damage == "foreign":
        save_file({"weight": torch.ones(1)}, path)
    else:
        data[-1] ^= 1
        path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "flipped": data}[damage])
    assert newest(folder) == 1
    assert len(folder.warnings) == 1 and path.name in folder.warnings[0]


def test_a_state_that_cannot_be_read_now_is_not_thrown_away(folder, monkeypatch):
    folder.save(1, state(1))

    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(resume, "safe_open", forbidden)
        with pytest.raises(UserError, match=r"state-000000001.* cannot be read .*Permission denied"):
            folder.load()
    assert newest(folder) == 1


def test_facts_that_were_changed_are_damage(folder):
    folder.save(1, state(1))
    path = paths(folder)[0]
    path.write_bytes(path.read_bytes().replace(b'\\"step\\": 1', b'\\"step\\": 9'))
    assert folder.load() is None
    assert folder.warnings


def test_where_all_states_are_damaged_it_says_that_the_run_begins_anew(folder):
    for step in (1, 2):
        folder.save(step, state(step))
    for path in paths(folder):
        path.write_bytes(b"cut")
    assert folder.load() is None
    newest, oldest = folder.warnings
    assert "the state before it is used" in newest and "the run begins anew" in oldest


def test_where_the_first_state_finds_no_room_none_is_said_to_be_whole(folder, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match="there is none before it"):
        folder.save(1, state(1))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_while_saving_leaves_the_states_before_it(folder, monkeypatch, moment):
    folder.save(1, state(1))

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[moment], fail)
        with pytest.raises(UserError, match=r"no space is left .* the state before it is whole"):
            folder.save(2, state(2))
    assert newest(folder) == 1
    assert not folder.warnings
    folder.save(2, state(2))
    assert newest(folder) == 2


def test_what_a_killed_process_was_writing_is_cleared_away(tmp_path):
    (tmp_path / "run").mkdir()
    leftover = tmp_path / "run" / ".state-000000001.safetensors.99.ab.partial"
    leftover.write_bytes(b"half")
    folder = ResumeFolder(tmp_path, "run")
    folder.close()
    assert not leftover.exists()


def test_an_identical_run_at_the_same_time_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match="identical run is at work"):
        ResumeFolder(tmp_path, "run")


def test_another_run_at_the_same_time_is_not(folder, tmp_path):
    folder.save(1, state(1))
    other = ResumeFolder(tmp_path, "other")
    assert other.load() is None
    other.close()


def test_a_run_that_ended_lets_the_next_one_in(tmp_path):
    first = ResumeFolder(tmp_path, "run")
    first.save(3, state(3))
    first.close()
    second = ResumeFolder(tmp_path, "run")
    assert newest(second) == 3
    second.close()


def test_a_finished_run_leaves_no_state(folder):
    folder.save(1, state(1))
    folder.remove()
    assert folder.load() is None
    assert not folder.folder.exists()


def test_holding_and_refusing_states_is_not_logged(tmp_path, caplog):
    first = ResumeFolder(tmp_path, "run")
    with pytest.raises(UserError, match="identical run is at work"):
        ResumeFolder(tmp_path, "run")
    first.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
