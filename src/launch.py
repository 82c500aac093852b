"""Start a stage under torchrun on this machine, and start it again when it is killed.

    python -m src.launch stages.train

Runs `train.processes` processes (0: one per GPU). A stage that a signal ended, the out-of-memory killer's for one, is
started again, up to `train.restarts` times, and goes on from its last state. One that ended with an error, or was asked
to stop, is not. When this launcher disappears, its processes save their state and leave.

Several machines are torchrun's own business: `torchrun --nnodes 2 ... -m stages.train` on each.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from src import config
from src.errors import reported
from src.parent import PARENT, leave_with_parent

CHECK_SECONDS = 0.5
"""How often the processes are looked at: longer, and a worker's death is noticed after its peers hang (gloo)."""
LEAVE_SECONDS = 120
"""How long processes that were asked to stop may take to save their state."""


@reported()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.launch", description="Run a stage under torchrun.")
    parser.add_argument("stage", help="module to run: stages.train")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="handed to it")
    options = parser.parse_args()
    stage = options.stage
    if PARENT in os.environ or "DVC_STAGE" in os.environ:
        leave_with_parent()  # SIGTERM to DVC reaches nobody else
    os.environ[PARENT] = str(os.getpid())
    import torch  # after that, for it takes seconds in which DVC may be killed

    from src.processes import cores

    settings = config.load().train
    processes = settings.processes or max(1, torch.cuda.device_count())
    # The agent's own account of a failure is three screens long; the stage has said what was wrong.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # Waiting threads spin for a moment only, not for as long as they like: as fast alone, several times as fast beside
    # another busy process.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # with the shared one a restart may hang under gloo
    for restart in range(settings.restarts + 1):
        status = _run(stage, options.arguments, processes)
        if status >= 0:
            sys.exit(status)
        killer = signal.Signals(-status).name
        left = settings.restarts - restart
        print(f"{stage}: a process was ended by {killer}; restarts left: {left}", file=sys.stderr, flush=True)
    sys.exit(1)


def _run(stage: str, arguments: Sequence[str], processes: int) -> int:
    """The exit status of the process that failed first, negative for a signal; 0 when all went well."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=CHECK_SECONDS,
        shutdown_timeout=LEAVE_SECONDS,
    )
    try:
        elastic_launch(launch, sys.executable)("-u", "-m", stage, *arguments)
    except ChildFailedError as failure:
        return failure.get_first_failure()[1].exitcode
    except SignalException as stopped:
        return 128 + stopped.sigval
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    main()
