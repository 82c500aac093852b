"""Work that threads do ahead of whoever asks for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    batches: Iterable[Sequence[T]], load: Callable[[T], R], workers: int, name: str, most: int = 2
) -> Iterator[list[R]]:
    """What `load` makes of each batch's items, done by `workers` threads while the caller is busy with batches before.

    Args:
        name: of the threads.
        most: batches that they may be ahead of the caller, so that memory stays flat.
    """
    waiting: deque[list[Future[R]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        try:
            for batch in batches:
                waiting.append([pool.submit(load, item) for item in batch])
                if len(waiting) > most:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:  # of a caller that has seen enough, or an item that cannot be loaded
            pool.shutdown(wait=False, cancel_futures=True)
