import mmap
import time
from collections.abc import Iterator

import pytest
import torch

from src.training.resources import MEBIBYTE, Gpu, ResourceMonitor


def slow_batches(count: int, seconds: float) -> Iterator[int]:
    for number in range(count):
        time.sleep(seconds)
        yield number


def test_throughput_is_what_was_counted_over_the_time() -> None:
    with ResourceMonitor() as monitor:
        monitor.count(images=10, captions=50)
        monitor.count(images=10, captions=50)
        figures = monitor.snapshot()
    assert figures["images_per_second"] * figures["seconds"] == pytest.approx(20)
    assert figures["captions_per_second"] * figures["seconds"] == pytest.approx(100)


def test_a_snapshot_begins_anew() -> None:
    with ResourceMonitor() as monitor:
        monitor.count(images=10, captions=50)
        monitor.snapshot()
        assert monitor.snapshot()["images_per_second"] == 0


def test_waiting_for_batches_is_told_from_working() -> None:
    with ResourceMonitor() as monitor:
        for _ in monitor.timed(slow_batches(5, 0.04)):
            time.sleep(0.01)
        assert 0.5 < monitor.snapshot()["wait_share"] < 1


def test_what_was_before_the_measurement_counts_as_if_it_had_been_measured() -> None:
    with ResourceMonitor() as monitor:
        monitor.count(images=10, captions=50, seconds=1000.0, waited=250.0)
        list(monitor.timed(slow_batches(2, 0.02)))
        figures = monitor.snapshot()
        assert figures["seconds"] > 1000
        assert figures["captions_per_second"] == pytest.approx(50 / figures["seconds"])
        assert figures["wait_share"] == pytest.approx(0.25, rel=0.01)
        assert monitor.snapshot()["seconds"] < 1000


def test_timed_batches_are_the_same_batches() -> None:
    with ResourceMonitor() as monitor:
        assert list(monitor.timed(range(4))) == [0, 1, 2, 3]


def test_memory_held_between_snapshots_is_in_the_peak() -> None:
    with ResourceMonitor(interval=0.01) as monitor:
        before = monitor.snapshot()["memory_peak_MiB"]
        held = mmap.mmap(-1, 64 * MEBIBYTE)  # of its own: a heap may have room left from before
        held.write(b"x" * (64 * MEBIBYTE))
        time.sleep(0.2)
        held.close()
        assert monitor.snapshot()["memory_peak_MiB"] > before + 48


def test_a_busy_core_is_seen() -> None:
    with ResourceMonitor() as monitor:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        idle_share = 1 - monitor.snapshot()["cpu_percent"] / 100
        time.sleep(0.3)
        assert monitor.snapshot()["cpu_percent"] / 100 < 1 - idle_share


def test_an_error_ends_the_sampling() -> None:
    with pytest.raises(KeyError), ResourceMonitor(interval=0.01) as monitor:
        raise KeyError
    assert not monitor._thread.is_alive()


def test_every_figure_is_a_number() -> None:
    with ResourceMonitor() as monitor:
        assert all(isinstance(value, float) for value in monitor.snapshot().values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_no_gpu_figures_without_a_gpu() -> None:
    with ResourceMonitor() as monitor:
        assert not [name for name in monitor.snapshot() if name.startswith("gpu")]


def test_a_gpu_that_hides_its_utilisation_still_tells_its_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hidden(device: int) -> int:
        raise RuntimeError("Not Supported")

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * MEBIBYTE)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 4 * MEBIBYTE)
    monkeypatch.setattr(torch.cuda, "utilization", hidden)
    gpu = Gpu()
    gpu.sample()
    gpu.sample()
    assert gpu.figures() == {"gpu_memory_peak_MiB": 3.0, "gpu_reserved_peak_MiB": 4.0}
    assert caplog.text.count("cannot be measured") == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_memory_peak_holds_what_was_allocated() -> None:
    with ResourceMonitor() as monitor:
        torch.empty(64 * MEBIBYTE, dtype=torch.uint8, device="cuda")
        figures = monitor.snapshot()
    assert figures["gpu_memory_peak_MiB"] >= 64
    assert monitor.snapshot()["gpu_memory_peak_MiB"] < 64
