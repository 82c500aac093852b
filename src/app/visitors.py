"""What the page remembers of its visitors, and for how long."""

from __future__ import annotations

from datetime import datetime, timedelta

import gradio as gr
from gradio.state_holder import StateHolder

SECONDS = 600
"""How long what a visitor sent or was shown is kept."""
MOST = 200
"""Visitors whose page Gradio remembers, some 100 KiB each; the one who was silent for longest is forgotten first."""


class Visitors(StateHolder):  # type: ignore[misc]
    """Gradio's memory of what each visitor was shown, pictures among it, which it would keep until many others come.
    Whoever is silent for long is forgotten; an open page goes on all the same, for it holds what it shows."""

    def delete_all_expired_state(self) -> None:
        """Gradio calls this every second."""
        super().delete_all_expired_state()
        limit = datetime.now() - timedelta(seconds=SECONDS)
        with self.lock:
            for visitor in [visitor for visitor, last in list(self.time_last_used.items()) if last < limit]:
                self.session_data.pop(visitor, None)
                self.time_last_used.pop(visitor)

    @classmethod
    def of(cls, blocks: gr.Blocks) -> Visitors:
        blocks.state_session_capacity = MOST
        visitors = cls()
        visitors.set_blocks(blocks)
        return visitors
