"""Ctrl-C and SIGTERM as a wish that training grants after its current step, so that nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from src.tracking import Terminated


class StopRequest:
    """Whether somebody asked the run to stop, and how."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def grant(self) -> BaseException:
        """The exception that ends the run as asked."""
        return KeyboardInterrupt() if self.signal == signal.SIGINT else Terminated()


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within the block the first SIGINT or SIGTERM is noted; a second one of a person in a hurry acts at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    former: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        signal.signal(number, former[number] if number == signal.SIGINT else signal.SIG_IGN)

    for number in former:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
