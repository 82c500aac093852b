"""Who may end training before its end: a person or a system, by Ctrl-C or SIGTERM, after the current step and without
a loss; a search, after an epoch, because other parameters promise more."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from src.processes import Group
from src.tracking import Pruned, Terminated

Watch = Callable[[int, Mapping[str, float]], bool]
"""Told each validated epoch's number and figures, those before a restart too; True ends the run there."""


def heed(watch: Watch | None, group: Group, epoch: int, row: Mapping[str, float]) -> None:
    """Tell rank 0's `watch` of an epoch; when it has seen enough, all processes of the group end together.

    Raises:
        Pruned: on every process.
    """
    if group.from_main(group.is_main and watch is not None and watch(epoch, row)):
        raise Pruned(f"after epoch {epoch}, at a validation CIDEr of {row['val_CIDEr']:.3f}")


class StopRequest:
    """Whether somebody asked the run to stop, and how."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def grant(self) -> BaseException:
        """The exception that ends the run as asked."""
        return KeyboardInterrupt() if self.signal == signal.SIGINT else Terminated()


def leave(stop: StopRequest, group: Group) -> None:
    """End here, all processes of the group together, when any of them was asked to stop.

    Raises:
        KeyboardInterrupt, Terminated: on every process.
    """
    [asked] = group.sum(bool(stop))
    if asked:
        raise stop.grant()


_noted: list[StopRequest] = []
"""What the outermost block notes."""


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block the first SIGINT or SIGTERM is noted; a second one of a person in a hurry acts at once.

    A block within another yields the same request: what is asked of a trial is asked of its search, and the other way
    round, at whatever moment the signal comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    if _noted:
        yield _noted[0]
        return
    former: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        signal.signal(number, former[number] if number == signal.SIGINT else signal.SIG_IGN)

    _noted.append(request)
    for number in former:
        signal.signal(number, note)
    try:
        yield request
    finally:
        _noted.clear()
        for number, handler in former.items():
            signal.signal(number, handler)
