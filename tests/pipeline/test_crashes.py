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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import laboratory
import psutil
import pytest
from mlflow import MlflowClient

SECONDS = 400
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
    """Processes that have everything imported when they begin."""
    return multiprocessing.get_context("forkserver")


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

    def start(folder: Path, *arguments: str, inside: Sequence[str] = (), **variables: str) -> subprocess.Popen:
        log = (tmp_path / f"log-{len(started)}").open("w")
        started.append(
            subprocess.Popen(
                [*inside, sys.executable, *arguments],
                cwd=folder,
                env=laboratory.environment() | variables,
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


def killed_before_its_first_state(folder: Path) -> None:
    """The training stage, killed when its MLflow run is there and nothing yet knows the run's id."""
    from src import tracking

    tracking.Recorded.parameters = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    train_here(folder)


def test_a_run_that_was_killed_before_its_first_state_is_gone_on_with(tmp_path, forks, uninterrupted):
    folder = laboratory.set_up(tmp_path / "killed")
    run = forks.Process(target=killed_before_its_first_state, args=(folder,))
    run.start()
    run.join(SECONDS)
    assert run.exitcode == -signal.SIGKILL
    assert not laboratory.states(folder)
    assert trained(folder, forks) == uninterrupted
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
        assert "resumed at step" in (tmp_path / f"log-{2 * number + 1}").read_text()
        assert laboratory.weights(folder) == uninterrupted


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


def test_two_nodes_train_one_run_and_one_that_vanishes_may_return(tmp_path, command, two_hosts):
    whole = laboratory.set_up(tmp_path / "whole", processes=2)
    assert command(whole, "-m", "src.launch", "stages.train").wait(SECONDS) == 0
    folder = laboratory.set_up(tmp_path / "nodes", processes=2)
    patience = "timeout=120,last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=3"
    meeting = f"{two_hosts[0].address}:{_free_port()}"

    def join(host: Host) -> subprocess.Popen:
        # Hosts without names cannot see for themselves whether they are the one that all meet at.
        conf = f"{patience},is_host={int(host is two_hosts[0])}"
        return command(
            folder, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d",
            "--rdzv-endpoint", meeting, "--rdzv-id", "nodes", "--local-addr", host.address, "--max-restarts", "3",
            "--monitor-interval", "0.5", "--rdzv-conf", conf, "-m", "stages.train",
            inside=host.inside, GLOO_SOCKET_IFNAME=host.interface,
        )  # fmt: skip

    first = join(two_hosts[0])
    time.sleep(3)  # the first to come holds the rendezvous, and stays
    second = join(two_hosts[1])
    wait_for(lambda: len(laboratory.states(folder)) >= 2, "progress")
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    time.sleep(8)  # a machine that starts again is away for longer than the others believe it alive
    returned = join(two_hosts[1])

    assert first.wait(SECONDS) == 0
    assert returned.wait(SECONDS) == 0
    assert laboratory.weights(folder) == laboratory.weights(whole)


class Host(NamedTuple):
    """A machine of the test's network.

    Attributes:
        inside: what a command is put behind to run there.
    """

    address: str
    interface: str
    inside: tuple[str, ...] = ()


@pytest.fixture
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two machines: network namespaces with a cable between them where the test may make them (root on Linux), else
    this machine twice."""
    names = [f"captionlab-{os.getpid()}-{end}" for end in "ab"]
    wires = [f"cl{os.getpid()}{end}" for end in "ab"]
    hosts = [Host(f"10.213.77.{number}", wire, ("ip", "netns", "exec", name))
             for number, (wire, name) in enumerate(zip(wires, names, strict=True), start=1)]  # fmt: skip
    try:
        if not all(_done("ip", "netns", "add", name) for name in names):
            yield Host("127.0.0.1", "lo"), Host("127.0.0.1", "lo")
            return
        cable = ["ip", "link", "add", wires[0], "netns", names[0], "type", "veth"]
        assert _done(*cable, "peer", "name", wires[1], "netns", names[1])
        for host in hosts:
            assert _done(*host.inside, "ip", "address", "add", f"{host.address}/24", "dev", host.interface)
            assert _done(*host.inside, "ip", "link", "set", host.interface, "up")
            assert _done(*host.inside, "ip", "link", "set", "lo", "up")
        yield hosts[0], hosts[1]
    finally:
        for name in names:
            _done("ip", "netns", "delete", name)


def _done(*arguments: str) -> bool:
    return shutil.which(arguments[0]) is not None and not subprocess.run(arguments, capture_output=True).returncode


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
