"""What tests of several rooms need: two processes, and one thread each, because tiny tensors gain nothing by more."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import coloured
import pytest
import two_processes

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def ranks() -> Iterator[two_processes.Ranks]:
    """`ranks(function, ...)` calls `function(group, ...)` on two processes and returns both answers."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, mp_context=context) as pool:

        def run(function: Callable[..., Any], *arguments: Any) -> list[Any]:
            return two_processes.run(pool, function, arguments)

        yield run


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> coloured.Coloured:
    """A dataset that a small BLIP learns in seconds."""
    return coloured.drawn(tmp_path_factory.mktemp("coloured"))
