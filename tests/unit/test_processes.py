"""Processes that work together agree with one another, and a process alone agrees with itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from src.errors import UserError
from src.parent import PARENT
from src.processes import Group, processes


def spoken(group: Group) -> dict[str, Any]:
    group.barrier()
    return {
        "rank": group.rank,
        "size": group.size,
        "main": group.is_main,
        "sum": group.sum(group.rank + 1, 0.1, 2**53 + group.rank),
        "gather": group.gather(["a"] * group.rank),
        "from_main": group.from_main({"said by": group.rank}),
        "device": group.device.type,
    }


def test_two_processes_agree(ranks):
    first, second = ranks(spoken)
    assert [first.pop("rank"), second.pop("rank")] == [0, 1]
    assert [first.pop("main"), second.pop("main")] == [True, False]
    assert first == second
    assert first["size"] == 2
    assert first["sum"] == [3.0, 0.2, 2.0**54]
    assert first["gather"] == [[], ["a"]]
    assert first["from_main"] == {"said by": 0}


def waited(group: Group, meet: str, *said: Any) -> Any:
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=1), dist.group.WORLD)
    if group.is_main:
        time.sleep(4)
    return getattr(group, meet)(*said)


@pytest.mark.parametrize(
    ("meeting", "answer"), [(["barrier"], None), (["from_main", "a state"], "a state"), (["gather", "a"], ["a", "a"])]
)
def test_who_meets_waits_for_longer_than_a_step_may_take(ranks, meeting, answer):
    """And what is said then goes past the GPUs, by the group that has none."""
    assert ranks(waited, *meeting) == [answer, answer]


def test_a_process_alone_is_the_main_one_and_agrees_with_itself(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes() as group:
        told = spoken(group)
    assert told["main"] and told["size"] == 1
    assert (told["sum"], told["gather"], told["from_main"]) == ([1.0, 0.1, 2**53], [[]], {"said by": 0})


def test_one_process_under_torchrun_needs_no_group(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    with processes() as group:
        assert (group.rank, group.size) == (0, 1)
        assert not dist.is_initialized()


def test_without_a_gpu_it_computes_on_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with processes() as group:
        assert group.device == torch.device("cpu")


ORPHAN = """
import os, pathlib, signal, time
from src.parent import leave_with_parent

told, ready = pathlib.Path("{told}"), pathlib.Path("{ready}")
if os.fork() == 0:
    signal.signal(signal.SIGTERM, lambda number, frame: (told.touch(), os._exit(0)))
    leave_with_parent()
    ready.touch()
    time.sleep(60)
    os._exit(1)
while not ready.exists():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_process_is_asked_to_leave_when_its_launcher_is_killed(tmp_path):
    told = tmp_path / "told"
    script = ORPHAN.format(told=told, ready=tmp_path / "ready")
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False, timeout=60)
    for _ in range(500):
        if told.exists():
            break
        time.sleep(0.01)
    assert told.exists()


def test_a_process_whose_launcher_was_gone_before_it_could_ask_leaves(tmp_path):
    """Python takes a moment to begin, in which whoever started it may be killed."""
    look = "from src.parent import leave_with_parent; leave_with_parent()"
    for parent, status in ((os.getpid(), 0), (os.getppid(), -signal.SIGTERM)):
        environment = os.environ | {PARENT: str(parent)}
        ended = subprocess.run(
            [sys.executable, "-c", look], cwd=Path(__file__).parents[2], env=environment, check=False
        )
        assert ended.returncode == status


def left(group: Group) -> bool:
    return dist.is_initialized()


def test_processes_that_leave_can_meet_again(ranks):
    assert ranks(left) == [True, True]
    assert ranks(left) == [True, True]


@pytest.mark.parametrize(("error", "status", "told"), [(UserError("the way out"), 2, "error: the way out"),
                                                       (KeyError("a fault"), 1, "KeyError: 'a fault'")])  # fmt: skip
def test_who_fails_alone_among_gpus_says_why_and_waits_for_nobody(monkeypatch, capsys, error, status, told):
    """NCCL's end of a group waits for all of it."""

    class EndedError(BaseException):
        pass

    def end(status: int) -> None:
        waited_for.append(f"ended with {status}")
        raise EndedError

    waited_for: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("src.processes._device", lambda: torch.device("cuda", 0))
    for name, value in {
        "init_process_group": lambda *_, **__: None,
        "new_group": lambda *_, **__: dist.ProcessGroup(1, 2),
        "get_rank": lambda: 1,
        "destroy_process_group": lambda: waited_for.append("the others"),
    }.items():
        monkeypatch.setattr(dist, name, value)
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(EndedError), processes():
        raise error
    assert waited_for[0] == f"ended with {status}"
    assert told in capsys.readouterr().err
