"""What the page remembers of its visitors, and for how long."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.state_holder import StateHolder
from gradio.utils import LRUCache

UPLOADS = "GRADIO_TEMP_DIR"
"""The variable that names the folder of what visitors send. Gradio reads it; where it is not set, the folder is shared
with others, and left alone."""
SECONDS = 600
"""How long what a visitor sent or was shown is kept."""
MOST = 200
"""Visitors whose page Gradio remembers, some 100 KiB each; the one who was silent for longest is forgotten first."""


LETTERS = 2000
"""Visitors for whom answers may lie ready."""
SWEEP_SECONDS = 60.0


class Letters(LRUCache):  # type: ignore[misc]
    """Answers that lie ready for each visitor until they are fetched. Those for somebody who was forgotten are thrown
    away: Gradio's own memory raises an error then, which ends its queue for all."""

    def __init__(self) -> None:
        super().__init__(LETTERS)
        self.since: dict[str, float] = {}

    def __setitem__(self, visitor: str, letters: Any) -> None:
        super().__setitem__(visitor, letters)
        self.since[visitor] = time.monotonic()

    def __missing__(self, visitor: str) -> asyncio.Queue[Any]:
        return asyncio.Queue()

    def expired(self) -> list[str]:
        """Visitors who have fetched nothing for SECONDS: what was fetched is not here any more."""
        self.since = {visitor: since for visitor, since in list(self.since.items()) if visitor in self}
        limit = time.monotonic() - SECONDS
        return [visitor for visitor, since in self.since.items() if since < limit]


class Visitors(StateHolder):  # type: ignore[misc]
    """Gradio's memory of what each visitor was shown, pictures among it, which it would keep until many others come.
    Whoever is silent for long is forgotten; an open page goes on all the same, for it holds what it shows."""

    _swept = 0.0

    def delete_all_expired_state(self) -> None:
        """Gradio calls this every second."""
        super().delete_all_expired_state()
        limit = datetime.now() - timedelta(seconds=SECONDS)
        with self.lock:
            for visitor in [visitor for visitor, last in list(self.time_last_used.items()) if last < limit]:
                self.session_data.pop(visitor, None)
                self.time_last_used.pop(visitor)
        queue = self.blocks._queue
        for visitor in queue.pending_messages_per_session.expired():
            queue.pending_messages_per_session.pop(visitor, None)
            queue.pending_event_ids_session.pop(visitor, None)
        if time.monotonic() >= self._swept + SWEEP_SECONDS:
            self._swept = time.monotonic()
            sweep()

    @classmethod
    def of(cls, blocks: gr.Blocks) -> Visitors:
        blocks.state_session_capacity = MOST
        blocks._queue.pending_messages_per_session = Letters()
        visitors = cls()
        visitors.set_blocks(blocks)
        return visitors


def sweep() -> None:
    """Delete what visitors sent longer than SECONDS ago, whole uploads and those that broke off, from the folder that
    is the page's own."""
    uploads = os.environ.get(UPLOADS)
    for path in Path(uploads).rglob("*") if uploads else ():
        with suppress(OSError):  # another upload has the name by now, or it is gone
            if path.is_file() and path.stat().st_mtime < time.time() - SECONDS:
                path.unlink()
