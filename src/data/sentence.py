"""Captions as people read them."""

from __future__ import annotations

import re

_SPACE_BEFORE = re.compile(r"\s+([.,;:!?]|'s\b)")


def sentence(caption: str) -> str:
    """With a capital letter and a full stop, and no space before punctuation (as tokenised datasets have)."""
    text = _SPACE_BEFORE.sub(r"\1", caption.strip())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")
