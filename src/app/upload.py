"""Gradio's picture component, but it hands over a visitor's file as it came: `src.app.pictures` decides what it is."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.blocks import Block


def upload(**settings: Any) -> Any:
    """A `gradio.Image` whose value is the path of the uploaded file, which Gradio itself would decode."""
    # Methods of this one component: Gradio writes a file beside the source of each class that is derived from its own.
    picture = gr.Image(type="filepath", **settings)
    picture.preprocess = _path
    return picture


def fetch_nothing(block: Block) -> None:
    """An address in place of a file is refused, which Gradio would fetch: whatever the component, and of any size."""
    keep = block.async_move_resource_to_block_cache

    async def kept(path: Any) -> str | None:
        if "://" in str(path):
            raise gr.Error("Send the picture itself: this page fetches nothing from other places.")
        found: str | None = await keep(path)
        return found

    block.async_move_resource_to_block_cache = kept


def _path(payload: Any) -> str | None:
    return payload.path if payload is not None else None
