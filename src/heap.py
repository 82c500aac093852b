"""What becomes of memory that a network lets go of between its layers, or between training steps.

The GNU C library asks the system for each large block by itself, and gives it back as soon as it is free. A CNN frees a
block behind every layer and wants one of that size at the next, so that the system hands out and clears the same
memory, page by page, for every image: half of EfficientNet-Lite2's time (`python -m benchmarks.extraction`). So does a
training step with what it keeps for its backward pass.
"""

from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
ROOM = 64 << 20
"""Bytes by which the heap grows at least."""


def keep_freed_memory() -> None:
    """From here on this process keeps the memory that its main thread frees, for its next need: its size stays at its
    peak.

    Only with the GNU C library; elsewhere, and where the environment tells the allocator what to do (MALLOC_..._,
    GLIBC_TUNABLES), nothing changes.
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):  # musl's allocator has no such switches
        return
    for switch, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, ROOM)):
        library.mallopt(switch, value)
