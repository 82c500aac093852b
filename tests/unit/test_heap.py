"""What a network frees stays with the process, so that the system need not clear it again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.heap import keep_freed_memory

LAYERS = """
import ctypes
import resource
from src.heap import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, wherever this runs
keep_freed_memory()
def layers():
    for _ in range(10):
        b'.' * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = layers()
print((layers() - before) / 10)
"""
PAGES = (64 << 20) // 4096


def faults(**told: str) -> float:
    """Pages that the system cleared for each block of 64 MiB, once there had been ten."""
    around = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))} | told
    done = subprocess.run([sys.executable, "-c", LAYERS], env=around, capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library's allocator")
def test_freed_memory_is_used_again_unless_the_environment_tells_the_allocator_what_to_do() -> None:
    assert faults() < PAGES / 100
    assert faults(MALLOC_MMAP_THRESHOLD_="65536") > PAGES / 2  # as the library does by itself


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("src.heap.ctypes.CDLL", lambda name: pytest.fail("asked the C library"))
    keep_freed_memory()


@pytest.mark.parametrize(("told", "way"), [({}, "AUTO"), ({"MKL_CBWR": "COMPATIBLE"}, "COMPATIBLE")])
def test_mkl_computes_a_product_the_same_way_each_time_unless_the_environment_tells_it(told, way) -> None:
    around = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"} | told
    show = "import src, os; print(os.environ['MKL_CBWR'])"
    done = subprocess.run([sys.executable, "-c", show], env=around, capture_output=True, text=True)
    assert done.stdout.strip() == way


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="Linux' large pages")
@pytest.mark.parametrize(("told", "large"), [({}, "1"), ({"THP_MEM_ALLOC_ENABLE": "0"}, "0")])
def test_torch_is_told_to_use_large_pages_unless_the_environment_tells_it(told: dict[str, str], large: str) -> None:
    around = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"} | told
    show = "import src, os; print(os.environ['THP_MEM_ALLOC_ENABLE'])"
    assert (
        subprocess.run([sys.executable, "-c", show], env=around, capture_output=True, text=True).stdout.strip() == large
    )
