"""Run a function as torchrun would run it: in two processes that know one another."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

SECONDS = 400
"""More than any test needs, so that a deadlock fails instead of hanging."""

Ranks = Callable[..., list[Any]]


def run(pool: ProcessPoolExecutor, function: Callable[..., Any], arguments: Sequence[Any]) -> list[Any]:
    """`function(group, *arguments)` on both, and what each returned."""
    port = _free_port()
    answers = [pool.submit(_as_rank, rank, port, function, arguments) for rank in (0, 1)]
    return [answer.result(timeout=SECONDS) for answer in answers]


def _as_rank(rank: int, port: int, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    from src.processes import processes

    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # two processes have something to agree on without two GPUs as well
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = str(port)
    with processes() as group:
        return function(group, *arguments)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
