"""Start a stage on this machine, under torchrun where it takes several processes, and start it again when it is killed.

    python -m src.launch stages.train

Runs `train.processes` processes (0: one per GPU). A stage that a signal ended, the out-of-memory killer's for one, is
started again, up to `train.restarts` times, and goes on from its last state. One that ended with an error, or was asked
to stop, is not. When this launcher disappears, its processes save their state and leave.

Several machines are torchrun's own business: `torchrun --nnodes 2 ... -m stages.train` on each.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import MutableMapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING

from src import config
from src.errors import reported
from src.parent import PARENT, leave_with_parent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

POLL_SECONDS = 0.05
CHECK_SECONDS = 0.5
"""How often several processes are looked at: longer, and a worker's death is noticed after its peers hang (gloo)."""
LEAVE_SECONDS = 120
"""How long processes that were asked to stop may take to save their state."""
STOPS = (signal.SIGINT, signal.SIGTERM)
PEERS = ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK")
"""Environment variables by which torchrun tells a process its peers; schedulers of clusters set them as well."""


@reported()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.launch", description="Run a stage, again when it is killed.")
    parser.add_argument("stage", help="module to run: stages.train")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="handed to it")
    options = parser.parse_args()
    stage = options.stage
    if PARENT in os.environ or "DVC_STAGE" in os.environ:
        leave_with_parent()  # SIGTERM to DVC reaches nobody else
    os.environ[PARENT] = str(os.getpid())
    settings = config.load().train
    processes = settings.processes or _gpus() or 1
    share_cores(os.environ, processes)
    for restart in range(settings.restarts + 1):
        status = _several(stage, options.arguments, processes) if processes > 1 else _one(stage, options.arguments)
        if status >= 0:
            sys.exit(status)
        if -status in STOPS:  # sent to the stage itself, before it could save or as it had nothing to save
            sys.exit(128 - status)
        killer = signal.Signals(-status).name
        left = settings.restarts - restart
        print(f"{stage}: a process was ended by {killer}; restarts left: {left}", file=sys.stderr, flush=True)
    sys.exit(1)


def share_cores(environment: MutableMapping[str, str], processes: int) -> None:
    """Let each of so many processes compute with its share of the cores, unless the environment says with how many."""
    if not environment.get("OMP_NUM_THREADS"):  # empty, OpenMP would take it for all of them
        environment["OMP_NUM_THREADS"] = str(max(1, cores() // processes))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    import torch  # late: it takes seconds

    return torch.cuda.device_count()


def _one(stage: str, arguments: Sequence[str]) -> int:
    """The exit status of the one process, negative for a signal. It has nobody to meet: no torchrun, whose import
    takes as long as the stage's own."""
    asked: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        process.send_signal(number)

    held = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until there is somebody to hand them to
    command = [sys.executable, "-u", "-m", stage, *arguments]
    process = subprocess.Popen(
        command,
        env={name: value for name, value in os.environ.items() if name not in PEERS},
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, held),
    )
    former = {number: signal.signal(number, hand_on) for number in STOPS}
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    limit = math.inf
    try:
        while process.poll() is None:
            if asked and limit == math.inf:
                limit = time.monotonic() + LEAVE_SECONDS
            if time.monotonic() > limit:
                process.kill()
            time.sleep(POLL_SECONDS)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    # One that was asked to stop as it ended has done its work all the same.
    return 128 + asked[0] if asked and process.returncode else process.returncode


def _several(stage: str, arguments: Sequence[str], processes: int) -> int:
    """The exit status of the process that failed first, negative for a signal; 0 when all went well."""
    import psutil
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    asked: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        """Ask them and wait. The agent would do as much, but then not tell how they ended; so it finds them ended."""
        workers = psutil.Process().children()
        if not workers:
            raise SignalException("asked to stop before anything was started", signal.Signals(number))
        asked.append(number)
        for worker in workers:
            worker.send_signal(number)
        limit = time.monotonic() + LEAVE_SECONDS
        while any(worker.status() != psutil.STATUS_ZOMBIE for worker in workers) and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)
        for worker in workers:
            worker.kill()

    # The agent's own account of a failure is three screens long; the stage has said what was wrong.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # with the shared one a restart may hang under gloo
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",  # it would look its own name up, which a laptop's network may not know
        max_restarts=0,
        monitor_interval=CHECK_SECONDS,
        signals_to_handle="SIGHUP,SIGQUIT",
        shutdown_timeout=LEAVE_SECONDS,
    )
    former = {number: signal.signal(number, hand_on) for number in STOPS}
    try:
        elastic_launch(launch, sys.executable)("-u", "-m", stage, *arguments)
    except ChildFailedError as failure:
        return 128 + asked[0] if asked else _first(failure)
    except SignalException as stopped:
        return 128 + stopped.sigval
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return 0


def _first(failure: ChildFailedError) -> int:
    """What the others failed of: the exit status of a process that was killed, else of the one that failed first.

    Times of failure are whole seconds, within which the peers of a killed one fail too (NCCL aborts them). Peers that
    are still there the agent ends itself, by SIGTERM and half a minute later by SIGKILL: that says nothing of them.
    """
    first = failure.get_first_failure()[1]
    together = [int(one.exitcode) for one in failure.failures.values() if one.timestamp <= first.timestamp + 1]
    killed = [status for status in together if status < 0 and -status not in (signal.SIGABRT, signal.SIGTERM)]
    return killed[0] if killed else int(first.exitcode)


if __name__ == "__main__":
    main()
