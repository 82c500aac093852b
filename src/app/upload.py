"""Gradio's picture component, which hands over the visitor's file as it came: what it is, `src.app.pictures` decides."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components.image import Image
from gradio.data_classes import ImageData


class Upload(Image):
    """Its value is the path of an uploaded file. Gradio itself would decode the file, and fetch one that is an address."""

    is_template = True
    """It looks like Gradio's own: the browser needs no code for it."""

    @classmethod
    def get_component_class_id(cls) -> str:
        return str(Image.get_component_class_id())

    def preprocess(self, payload: ImageData | None) -> str | None:  # type: ignore[override]
        return payload.path if payload is not None else None

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        if "://" in str(url_or_file_path):
            raise gr.Error("Send the picture itself: this page fetches nothing from other places.")
        return await super().async_move_resource_to_block_cache(url_or_file_path)
