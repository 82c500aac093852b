"""Small photographs, and the archives they come in, made on the spot."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Photograph = Callable[..., bytes]
Archive = Callable[..., Path]


@pytest.fixture
def photograph() -> Photograph:
    """Encoded bytes of a small picture; its size, mode and format as wanted."""

    def make(
        size: tuple[int, int] = (24, 16), mode: str = "RGB", format: str = "JPEG", colour: Any = None, **save: Any
    ) -> bytes:
        image = Image.new("RGB", size, (200, 60, 30) if colour is None else colour).convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, format, **save)
        return buffer.getvalue()

    return make


@pytest.fixture
def zipped() -> Archive:
    def make(path: Path, files: Mapping[str, bytes | str], deflated: bool = False) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path

    return make


@pytest.fixture
def tarred() -> Archive:
    def make(path: Path, files: Mapping[str, bytes | str], mode: str = "w") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            for name, data in files.items():
                data = data.encode() if isinstance(data, str) else data
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path

    return make


@pytest.fixture
def laid_out() -> Archive:
    def make(folder: Path, files: Mapping[str, bytes | str]) -> Path:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
        return folder

    return make
