"""What a benchmark ran on, and what that machine can do at most."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from src import provenance
from src.precision import DTYPES, computed

SIZE = {"cpu": 2048, "cuda": 8192}
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""The environment's switch for PyTorch's use of them."""
Work = tuple[float, Callable[[], object]]
"""So many things, and what does them."""


def description() -> dict[str, str]:
    """Processor, GPU and versions."""
    return provenance.machine()


def device() -> torch.device:
    """Where benchmarks compute: on the GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def tell(text: str) -> None:
    """Show how far a long benchmark is, apart from what it prints at the end."""
    print(text, file=sys.stderr, flush=True)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def once(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that one run takes."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def in_turns(
    kinds: Mapping[str, Callable[[], Sequence[Work]]], rounds: int, device: torch.device, plain: Collection[str] = ()
) -> dict[str, list[float]]:
    """Things per second of each kind in each round. A first round warms up: sizes are prepared for, kernels compiled.

    Each kind is a process, for what is set for one of them is no other's business. They alternate, so that whatever
    else a shared machine does meets all of them.

    Args:
        kinds: what makes the work there; to be pickled.
        plain: kinds whose memory is handled as the C library and PyTorch do it by themselves (see `src.heap`).
    """
    spawning, ours, found = multiprocessing.get_context("spawn"), dict(os.environ), dict[str, list[float]]()
    with contextlib.ExitStack() as stack:
        ends = {}
        for name, make in kinds.items():
            ends[name], other = spawning.Pipe()
            process = spawning.Process(target=_work, args=(make, device, other), daemon=True)
            if name in plain:
                os.environ[LARGE_PAGES] = "0"
            process.start()
            os.environ |= ours
            other.close()
            stack.callback(process.join)
            stack.callback(ends[name].close)
        for number in range(rounds + 1):
            for name, end in ends.items():
                tell(f"{name}, {f'round {number} of {rounds}' if number else 'warming up'}")
                end.send(None)
                rate = end.recv()
                if number:
                    found.setdefault(name, []).append(rate)
    return found


def _work(make: Callable[[], Sequence[Work]], device: torch.device, end: Connection) -> None:
    works = make()
    with contextlib.suppress(EOFError):
        while True:
            end.recv()
            seconds = sum(once(work, device) for _, work in works)
            end.send(sum(amount for amount, _ in works) / seconds)


def times(rates: Sequence[float], others: Sequence[float]) -> float:
    """How many times as fast the first are: the median of the rounds."""
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))


def precisions(device: torch.device) -> list[str]:
    """Those that `device` computes in as they are, from the widest on."""
    kinds = ("fp32", "bf16", "fp16") if device.type == "cuda" else ("fp32", "bf16")
    return [kind for kind in kinds if computed(kind, device) == DTYPES[kind]]


def matrix_product_peak(dtype: torch.dtype, device: torch.device) -> float:
    """TFLOP/s of a large square matrix product, the best of ten."""
    size = SIZE[device.type]
    left = torch.randn(size, size, device=device).to(dtype)
    right = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / min(once(lambda: left @ right, device) for _ in range(10)) / 1e12


def forget_peak_memory() -> None:
    """Let the peak of resident memory begin anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mebibytes() -> float:
    """The peak of resident memory since it was last forgotten (Linux)."""
    return _status("VmHWM")


def memory_mebibytes() -> float:
    """Resident memory now (Linux)."""
    return _status("VmRSS")


def anonymous_memory_mebibytes() -> float:
    """Resident memory now without pages of mapped files (Linux)."""
    return _status("RssAnon")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024
