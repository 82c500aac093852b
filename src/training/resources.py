"""What an epoch cost: throughput, waiting, memory, processor, disk and GPU, as plain numbers to log beside its losses.

with ResourceMonitor() as monitor:
    for epoch in epochs:
        for batch in monitor.timed(batches):
            train(batch)
            monitor.count(images=64, captions=320)
        run.log(epoch, monitor.snapshot())
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

import psutil
import torch

MEBIBYTE = 2**20

log = logging.getLogger(__name__)
Item = TypeVar("Item")


class ResourceMonitor:
    """Measures this process from one snapshot to the next.

    Counts and `waited`, the seconds spent waiting for batches, are exact; the peak of resident memory and the GPU's
    utilisation are sampled by a thread every `interval` seconds. GPU figures exist on a GPU only, disk figures where
    the system reports them for a process.
    """

    def __init__(self, interval: float = 0.5) -> None:
        self._interval = interval
        self._process = psutil.Process()
        self._gpu = Gpu() if torch.cuda.is_available() else None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_sampling, name="resources", daemon=True)
        self._begin()

    def __enter__(self) -> ResourceMonitor:
        self._begin()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def count(self, *, images: int, captions: int, seconds: float = 0.0, waited: float = 0.0) -> None:
        """Add what was just trained on, or, with the seconds that it took and those of them spent waiting for batches,
        what was before the measurement began."""
        self._images += images
        self._captions += captions
        self._before += seconds
        self.waited += waited

    @property
    def seconds(self) -> float:
        """Since the last snapshot, and what was counted of before."""
        return self._before + max(time.perf_counter() - self._start, 1e-9)

    def timed(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The same batches; the time until each arrives counts as waiting for data."""
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - start
            yield batch

    def snapshot(self) -> dict[str, float]:
        """Figures since the last snapshot (or the start), which then begin anew.

        `cpu_percent` is of one core, so 200 is two busy cores; memory is in MiB, disk traffic in MiB/s. `wait_share` is
        the fraction of the time that was spent waiting for batches.
        """
        self._sample()
        with self._lock:
            seconds, whole = self.seconds - self._before, self.seconds
            figures = {
                "seconds": whole,
                "images_per_second": self._images / whole,
                "captions_per_second": self._captions / whole,
                "wait_share": min(self.waited / whole, 1.0),
                "cpu_percent": 100 * (self._cpu_seconds() - self._cpu_start) / seconds,
                "memory_peak_MiB": self._memory_peak / MEBIBYTE,
            }
            for name, moved, before in zip(("read", "written"), self._disk_bytes(), self._disk_start, strict=False):
                figures[f"disk_{name}_MiB_per_second"] = (moved - before) / MEBIBYTE / seconds
            if self._gpu:
                figures |= self._gpu.figures()
            self._begin()
        return figures

    def _begin(self) -> None:
        self._start = time.perf_counter()
        self._images = self._captions = 0
        self._before = self.waited = 0.0
        self._cpu_start = self._cpu_seconds()
        self._disk_start = self._disk_bytes()
        self._memory_peak = 0
        if self._gpu:
            self._gpu.begin()

    def _keep_sampling(self) -> None:
        while not self._stop.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            self._memory_peak = max(self._memory_peak, self._process.memory_info().rss)
            if self._gpu:
                self._gpu.sample()

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _disk_bytes(self) -> tuple[int, ...]:
        """Bytes read from and written to storage; nothing on systems that keep no such count (macOS)."""
        try:
            counters = self._process.io_counters()
        except (AttributeError, psutil.AccessDenied):
            return ()
        return counters.read_bytes, counters.write_bytes


class Gpu:
    """Memory and utilisation of the process's current CUDA device."""

    def __init__(self) -> None:
        self._device = torch.cuda.current_device()
        self._measures_use = True
        self._use: list[int] = []
        self.begin()

    def begin(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)
        self._use.clear()

    def sample(self) -> None:
        import pynvml

        if not self._measures_use:
            return
        try:
            self._use.append(torch.cuda.utilization(self._device))
        except (pynvml.NVMLError, RuntimeError) as error:  # a slice of a GPU (MIG), or a container without NVML
            self._measures_use = False
            log.warning("The GPU's utilisation cannot be measured here: %s", error)

    def figures(self) -> dict[str, float]:
        """`gpu_memory_peak_MiB` is what tensors took, `gpu_reserved_peak_MiB` what PyTorch took from the device."""
        figures = {
            "gpu_memory_peak_MiB": torch.cuda.max_memory_allocated(self._device) / MEBIBYTE,
            "gpu_reserved_peak_MiB": torch.cuda.max_memory_reserved(self._device) / MEBIBYTE,
        }
        return figures | ({"gpu_percent": sum(self._use) / len(self._use)} if self._use else {})
