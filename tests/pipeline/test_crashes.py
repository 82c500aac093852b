"""Whatever ends a training run, the same command goes on, and arrives at the weights of a run that nothing ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import laboratory
import psutil
import pytest
from mlflow import MlflowClient

SECONDS = 180
"""More than any run here takes, so that a hang fails."""

pytestmark = pytest.mark.slow


def train_here(folder: Path) -> None:
    """The training stage, in this process."""
    os.chdir(folder)
    import torch

    from src import config
    from src.places import Places
    from src.processes import Group
    from src.training.train import train

    torch.set_num_threads(1)
    train(config.load(), Places(), folder / "mlruns" / "resume", Group(0, 1, torch.device("cpu")))


@pytest.fixture(scope="module")
def forks() -> multiprocessing.context.ForkServerContext:
    """Processes that have torch and MLflow imported when they begin: a kill then falls into training, not imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["src.training.train", "mlflow", "mlflow.tracking"])
    return context


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, forks) -> bytes:
    return trained(laboratory.set_up(tmp_path_factory.mktemp("whole")), forks)


def trained(folder: Path, forks: multiprocessing.context.ForkServerContext) -> bytes:
    run = forks.Process(target=train_here, args=(folder,))
    run.start()
    run.join(SECONDS)
    assert run.exitcode == 0
    return laboratory.weights(folder)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts commands in a folder; what is still alive at the end is ended, its whole process group."""
    started: list[subprocess.Popen] = []

    def start(folder: Path, *arguments: str) -> subprocess.Popen:
        log = (tmp_path / f"log-{len(started)}").open("w")
        started.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=laboratory.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(happened: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < limit, f"waited {SECONDS} s for {what}"
        time.sleep(0.02)


def newest(folder: Path) -> str:
    found = laboratory.states(folder)
    return found[-1].name if found else ""


def trainers(launcher: subprocess.Popen) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(launcher.pid).children(recursive=True)
        if "stages.train" in child.cmdline() and "src.launch" not in child.cmdline()
    ]


def test_killed_at_twenty_random_moments_the_weights_are_those_of_a_whole_run(tmp_path, forks):
    long = {"epochs": 24, "adapt": {"stop_epochs": 0}}  # more steps than twenty attempts can do
    whole = trained(laboratory.set_up(tmp_path / "whole", **long), forks)
    folder = laboratory.set_up(tmp_path / "killed", **long)
    dice = random.Random(0)
    kills = 0
    while kills < 20:
        run = forks.Process(target=train_here, args=(folder,))
        run.start()
        before = newest(folder)
        wait_for(lambda: newest(folder) > before or not run.is_alive(), "progress")  # noqa: B023
        time.sleep(dice.uniform(0, 0.06))
        if not run.is_alive():
            break
        run.kill()
        run.join()
        kills += 1

    assert kills == 20
    assert trained(folder, forks) == whole
    assert not laboratory.states(folder)
    runs = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED"]


def test_asked_to_stop_it_saves_and_goes_on(tmp_path, command, uninterrupted):
    for number, ask in enumerate((signal.SIGTERM, signal.SIGINT)):
        folder = laboratory.set_up(tmp_path / str(number), save_every_steps=10_000)
        asked = command(folder, "-m", "src.launch", "stages.train")
        wait_for(lambda: (folder / "reports" / "curves.csv").exists(), "the first epoch")  # noqa: B023
        before = newest(folder)
        os.killpg(asked.pid, ask)

        assert asked.wait(SECONDS) == 128 + ask
        assert newest(folder) > before

        assert command(folder, "-m", "src.launch", "stages.train").wait(SECONDS) == 0
        assert (folder / "outputs" / "model").exists()


def test_one_of_two_processes_is_killed_and_the_run_goes_on_by_itself(tmp_path, command):
    whole = laboratory.set_up(tmp_path / "whole", processes=2)
    assert command(whole, "-m", "src.launch", "stages.train").wait(SECONDS) == 0
    folder = laboratory.set_up(tmp_path / "killed", processes=2)
    launcher = command(folder, "-m", "src.launch", "stages.train")
    wait_for(lambda: len(laboratory.states(folder)) >= 2, "progress")
    trainers(launcher)[1].kill()

    assert launcher.wait(SECONDS) == 0
    assert laboratory.weights(folder) == laboratory.weights(whole)


def test_a_killed_launcher_takes_its_processes_with_it_and_the_same_command_goes_on(tmp_path, command, uninterrupted):
    folder = laboratory.set_up(tmp_path / "orphaned")
    launcher = command(folder, "-m", "src.launch", "stages.train")
    wait_for(lambda: len(laboratory.states(folder)) >= 2, "progress")
    orphans = trainers(launcher)
    launcher.kill()
    gone, alive = psutil.wait_procs(orphans, timeout=SECONDS)

    assert gone and not alive
    assert command(folder, "-m", "src.launch", "stages.train").wait(SECONDS) == 0
    assert laboratory.weights(folder) == uninterrupted


def test_a_full_disk_ends_the_run_with_a_way_out_and_loses_nothing(tmp_path, forks, command, uninterrupted):
    folder = laboratory.set_up(tmp_path / "full")
    disk = folder / "mlruns" / "resume"
    disk.mkdir(parents=True)
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True).returncode
    ):
        pytest.skip("a small disk cannot be mounted here (needs root on Linux)")
    try:
        run = forks.Process(target=train_here, args=(folder,))
        run.start()
        wait_for(lambda: len(laboratory.states(folder)) >= 2, "progress")
        run.kill()
        run.join()
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        full = subprocess.run(
            [sys.executable, "-m", "src.launch", "stages.train"],
            cwd=folder, env=laboratory.environment(), capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert full.returncode != 0
        assert "no space" in full.stderr.lower()
        assert laboratory.states(folder)
        ballast.unlink()

        again = forks.Process(target=train_here, args=(folder,))
        again.start()
        again.join(SECONDS)
        assert laboratory.weights(folder) == uninterrupted
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_nodes_train_one_run_and_one_that_vanishes_may_return(tmp_path, command):
    whole = laboratory.set_up(tmp_path / "whole", processes=2)
    assert command(whole, "-m", "src.launch", "stages.train").wait(SECONDS) == 0
    folder = laboratory.set_up(tmp_path / "nodes", processes=2)
    patience = "timeout=120,last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=3"
    node = [
        "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d",
        "--rdzv-endpoint", f"127.0.0.1:{_free_port()}", "--rdzv-id", "nodes", "--max-restarts", "3",
        "--monitor-interval", "0.5", "--rdzv-conf", patience, "-m", "stages.train",
    ]  # fmt: skip
    first = command(folder, *node)
    time.sleep(3)  # the first to come holds the rendezvous, and stays
    second = command(folder, *node)
    wait_for(lambda: len(laboratory.states(folder)) >= 2, "progress")
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    time.sleep(8)  # a machine that starts again is away for longer than the others believe it alive
    returned = command(folder, *node)

    assert first.wait(SECONDS) == 0
    assert returned.wait(SECONDS) == 0
    assert laboratory.weights(folder) == laboratory.weights(whole)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
