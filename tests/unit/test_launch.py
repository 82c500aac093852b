"""What ends a stage decides whether the launcher starts it again, and with which status it leaves."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from src.launch import _first, share_cores

PROJECT = Path(__file__).parents[2]
SECONDS = 400
"""More than any launch takes, so that a hang fails."""
STAGE = """
import os, signal, sys, time
from pathlib import Path
from src.errors import UserError, reported

rank = int(os.environ.get("RANK", "0"))
attempt = len(Path(f"rank-{{rank}}").read_text()) if Path(f"rank-{{rank}}").exists() else 0
with Path(f"rank-{{rank}}").open("a") as file:
    file.write("x")

@reported()
def main():
{body}

main()
"""


def launch(folder: Path, environment: dict[str, str]) -> None:
    """`python -m src.launch fake_stage` in a folder, in a process that has torch imported already."""
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("DVC_", "TORCHELASTIC"))]:
        del os.environ[name]
    os.environ |= environment
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), str(folder)])
    said = os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.argv = ["src.launch", "fake_stage"]
    sys.path.insert(0, str(PROJECT))
    from src.launch import main

    with contextlib.suppress(BrokenPipeError):
        main()


@dataclass(frozen=True)
class Launched:
    status: int
    said: str
    attempts: list[int]
    """How often each rank was started."""


@dataclass
class Laboratory:
    folder: Path

    def start(
        self, body: str, processes: int = 1, restarts: int = 2, **environment: str
    ) -> multiprocessing.process.BaseProcess:
        train = {"processes": processes, "restarts": restarts}
        (self.folder / "params.yaml").write_text(yaml.safe_dump({"train": train}))
        (self.folder / "fake_stage.py").write_text(
            STAGE.format(body="\n".join(f"    {line}" for line in body.splitlines()))
        )
        launcher = multiprocessing.get_context("forkserver").Process(target=launch, args=(self.folder, environment))
        launcher.start()
        return launcher

    def ended(self, launcher: multiprocessing.process.BaseProcess) -> Launched:
        launcher.join(SECONDS)
        if launcher.exitcode is None:
            launcher.kill()
        attempts = [len(path.read_text()) for path in sorted(self.folder.glob("rank-*"))]
        return Launched(launcher.exitcode, (self.folder / "stderr").read_text(), attempts)

    def run(self, body: str, processes: int = 1, restarts: int = 2, **environment: str) -> Launched:
        return self.ended(self.start(body, processes, restarts, **environment))


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    return Laboratory(tmp_path)


def test_it_imports_nothing_that_takes_seconds_before_it_asks_to_leave_with_its_parent():
    look = "import sys, src.launch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], cwd=PROJECT, check=False).returncode == 0


def test_a_stage_that_ends_well_is_started_once(laboratory):
    launched = laboratory.run("pass")
    assert (launched.status, launched.attempts) == (0, [1])


def test_one_process_is_alone_whatever_the_scheduler_of_a_cluster_says(laboratory):
    body = "sys.exit(bool(os.environ.keys() & {'WORLD_SIZE', 'RANK', 'LOCAL_RANK'}))"
    launched = laboratory.run(body, WORLD_SIZE="4", RANK="3", LOCAL_RANK="3")
    assert launched.status == 0


def test_an_error_of_the_user_is_passed_on_and_not_tried_again(laboratory):
    launched = laboratory.run("raise UserError('data is missing: run prepare')")
    assert (launched.status, launched.attempts) == (2, [1])
    assert launched.said.splitlines() == ["error: data is missing: run prepare"]


def test_a_fault_of_the_program_is_passed_on_and_not_tried_again(laboratory):
    launched = laboratory.run("raise ValueError('broken')")
    assert (launched.status, launched.attempts) == (1, [1])
    assert "ValueError: broken" in launched.said


def test_a_killed_stage_is_started_again_until_it_ends(laboratory):
    launched = laboratory.run("attempt < 2 and os.kill(os.getpid(), signal.SIGKILL)", restarts=2)
    assert (launched.status, launched.attempts) == (0, [3])
    assert [line for line in launched.said.splitlines() if "was ended by" in line] == [
        "fake_stage: a process was ended by SIGKILL; restarts left: 2",
        "fake_stage: a process was ended by SIGKILL; restarts left: 1",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_somebody_asks_to_stop_is_not_started_again_where_it_has_nothing_to_save(laboratory, number):
    body = f"signal.signal({number.value}, signal.SIG_DFL); os.kill(os.getpid(), {number.value}); time.sleep(60)"
    launched = laboratory.run(body)
    assert (launched.status, launched.attempts) == (128 + number, [1])


def test_a_stage_that_is_killed_every_time_is_given_up(laboratory):
    launched = laboratory.run("os.kill(os.getpid(), signal.SIGKILL)", restarts=1)
    assert (launched.status, launched.attempts) == (1, [2])


def test_an_error_after_a_restart_is_the_end(laboratory):
    body = "if attempt == 0: os.kill(os.getpid(), signal.SIGKILL)\nraise UserError('the disk is full')"
    launched = laboratory.run(body)
    assert (launched.status, launched.attempts) == (2, [2])


def test_when_one_of_two_processes_is_killed_both_are_started_again(laboratory):
    body = (
        "assert os.environ['WORLD_SIZE'] == '2'\n"
        "if attempt == 0 and rank == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "if attempt == 0: time.sleep(60)"
    )
    launched = laboratory.run(body, processes=2)
    assert (launched.status, launched.attempts) == (0, [2, 2])


def asked_to_stop(laboratory: Laboratory, processes: int, ending: str) -> Launched:
    """A launch whose processes wait and, once all are there and the launcher got SIGTERM, do what `ending` says."""
    launcher = laboratory.start(
        f"def asked(*signalled):\n"
        f"    Path(f'asked-{{rank}}').touch()\n"
        f"    {ending}\n"
        f"signal.signal(signal.SIGTERM, asked)\n"
        f"Path(f'ready-{{rank}}').touch()\n"
        f"time.sleep(60)",
        processes,
    )
    limit = time.monotonic() + SECONDS
    while len([*laboratory.folder.glob("ready-*")]) < processes and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(launcher.pid, signal.SIGTERM)
    return laboratory.ended(launcher)


@pytest.mark.parametrize("processes", [1, 2])
def test_asked_to_stop_it_asks_the_stage_and_starts_nothing_again(laboratory, processes):
    launched = asked_to_stop(laboratory, processes, "sys.exit(143)")
    assert (launched.status, launched.attempts) == (143, [1] * processes)
    assert len([*laboratory.folder.glob("asked-*")]) == processes


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stage_that_ends_well_has_done_its_work_though_it_was_asked_to_stop(laboratory, processes):
    assert asked_to_stop(laboratory, processes, "sys.exit(0)").status == 0


def test_of_two_that_are_asked_to_stop_one_may_take_longer_to_save(laboratory):
    launched = asked_to_stop(laboratory, 2, "rank == 0 and time.sleep(3); Path(f'saved-{rank}').touch(); sys.exit(143)")
    assert launched.status == 143
    assert len([*laboratory.folder.glob("saved-*")]) == 2


def test_an_error_beside_a_peer_that_waits_is_passed_on_and_not_tried_again(laboratory):
    launched = laboratory.run("if rank == 1: raise UserError('the disk is full')\ntime.sleep(60)", processes=2)
    assert (launched.status, launched.attempts) == (2, [1, 1])


@pytest.mark.parametrize(
    ("failures", "first"),
    [
        ([(1, 0), (-signal.SIGKILL, 0)], -signal.SIGKILL),
        ([(1, 0), (-signal.SIGKILL, 1)], -signal.SIGKILL),
        ([(1, 0), (2, 0)], 1),
        ([(1, 0), (-signal.SIGABRT, 0)], 1),
        ([(-signal.SIGABRT, 0)], -signal.SIGABRT),
        ([(2, 0), (-signal.SIGTERM, 0)], 2),
        ([(2, 0), (-signal.SIGKILL, 30)], 2),
    ],
)
def test_a_process_that_was_killed_is_what_the_others_failed_of_unless_they_had_failed_before(failures, first):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    failed = {rank: ProcessFailure(rank, 100 + rank, status, "") for rank, (status, _) in enumerate(failures)}
    for rank, (_, second) in enumerate(failures):
        failed[rank].timestamp = 1000 + second
    assert _first(ChildFailedError("stage", failed)) == first


@pytest.mark.parametrize(
    ("given", "threads"), [({}, "3"), ({"OMP_NUM_THREADS": ""}, "3"), ({"OMP_NUM_THREADS": "5"}, "5")]
)
def test_processes_share_the_cores_unless_they_are_told_how_many_threads(given, threads, monkeypatch):
    monkeypatch.setattr("src.launch.cores", lambda: 6)
    share_cores(given, 2)
    assert given == {"OMP_NUM_THREADS": threads}


@pytest.mark.parametrize(
    ("module", "given", "waiting"),
    [
        ("stages.train", {}, ("passive", "5000")),
        ("benchmarks.training", {}, ("passive", "5000")),
        ("stages.train", {"GOMP_SPINCOUNT": "7"}, ("passive", "7")),
        ("stages.train", {"OMP_WAIT_POLICY": "passive"}, ("passive", "0")),
        ("stages.train", {"OMP_WAIT_POLICY": "active"}, ("active", "30000000000")),
    ],
)
def test_threads_that_wait_sleep_soon_unless_they_are_told_otherwise(module, given, waiting):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_WAIT", "GOMP_SPIN"))}
    shown = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        env=environment | {"OMP_DISPLAY_ENV": "verbose"} | given, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.findall(r"(?:OMP_WAIT_POLICY|GOMP_SPINCOUNT)\s*=\s*'(\w+)'", shown.stderr)
    assert {value.lower() for value in found} == set(waiting), shown.stderr
