"""What visitors may send: pictures within limits, and what is said where something else comes."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

from PIL import Image

from src.data.images import ImageError, decode
from src.errors import UserError

MOST_BYTES = 20 * 2**20
"""Of a file."""
MOST_PIXELS = 40_000_000
"""Of a picture; a JPEG of one scan may have more, for it is decoded at a fraction of its size."""
ENOUGH = 1024
"""Pixels per side that are worth decoding of a JPEG: a captioner looks at a few hundred."""
SHOWN = 960
"""Pixels per side that the page shows of a picture."""
FORMATS = "JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP"


class RefusedError(UserError):
    """A visitor's file cannot be captioned; the message is for the visitor: what is wrong, and what would do."""


def opened(data: bytes, name: str = "picture") -> Image.Image:
    """A visitor's file as an upright RGB picture.

    Args:
        name: what the visitor calls the file.

    Raises:
        RefusedError: it is too large, damaged, or no picture.
    """
    if len(data) > MOST_BYTES:
        raise RefusedError(
            f"{name} has {len(data) / 2**20:.0f} MB, the most is {MOST_BYTES >> 20} MB. Save it smaller and try again."
        )
    try:
        return decode(data, name, at_least=ENOUGH, max_pixels=MOST_PIXELS)
    except ImageError as error:
        raise RefusedError(_politely(error)) from None


def read(path: Path) -> Image.Image:
    """`opened` for a file on disk, which is not read where it is too large.

    Raises:
        RefusedError: as `opened`, or the file is gone.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise RefusedError(
                f"{path.name} has {size / 2**20:.0f} MB, the most is {MOST_BYTES >> 20} MB. "
                "Save it smaller and try again."
            )
        return opened(path.read_bytes(), path.name)
    except OSError:
        raise RefusedError(f"{path.name} is not here any more. Choose it again.") from None


def embedded(picture: Image.Image, side: int = SHOWN) -> str:
    """A picture as a `data:` address, no larger than `side` pixels."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(picture, side)).decode()}"


def jpeg(picture: Image.Image, side: int = SHOWN) -> bytes:
    """A picture as JPEG, no larger than `side` pixels."""
    shown = picture.copy()
    shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    shown.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _politely(error: ImageError) -> str:
    if error.fault == "too large":
        size = re.search(r"(\d+ x )?\d+(?= pixels)", error.detail)  # Pillow refuses the largest itself, in its words
        return (
            f"{error.name} has too many pixels{f' ({size[0]})' if size else ''}; the page takes "
            f"{MOST_PIXELS // 1_000_000} million. Scale it down and try again."
        )
    if error.fault == "truncated":
        return f"{error.name} ends in the middle of the picture. It may not have been copied whole: try it again."
    if error.fault == "zero-sized":
        return f"{error.name} is empty. Choose a picture: {FORMATS}."
    return f"{error.name} is not a picture that can be read here. Choose one in {FORMATS}."
