"""Threads are ahead of their caller, by so much and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from src.ahead import ahead


def test_what_is_loaded_comes_in_order_batch_by_batch():
    assert list(ahead([[1, 2], [], [3]], lambda item: item * 10, 2, "test")) == [[10, 20], [], [30]]
    assert list(ahead([], str, 1, "test")) == []


@pytest.mark.parametrize("most", [0, 1, 3])
def test_it_is_ahead_by_so_many_batches(most):
    loaded: list[int] = []
    for number, batch in enumerate(ahead(([item] for item in range(6)), loaded.append, 1, "test", most)):
        assert batch == [None]
        for _ in range(200):
            if len(loaded) >= min(6, number + 1 + most):
                break
            time.sleep(0.01)
        time.sleep(0.02)  # time enough to run away
        assert len(loaded) == min(6, number + 1 + most)


def test_what_cannot_be_loaded_is_the_callers_to_know_and_nothing_more_is_loaded():
    loaded: list[int] = []

    def load(item: int) -> None:
        loaded.append(item)
        if item == 1:
            raise KeyError("damaged")
        time.sleep(0.05)

    with pytest.raises(KeyError, match="damaged"):
        list(ahead(([item] for item in range(100)), load, 1, "test"))
    assert len(loaded) < 6


def test_a_caller_that_has_seen_enough_leaves_no_thread_behind():
    def batches() -> Iterator[list[int]]:
        yield from ([item] for item in range(100))

    running = ahead(batches(), str, 2, "left-behind")
    next(running)
    running.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("left-behind")]
