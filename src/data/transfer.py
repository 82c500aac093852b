"""One file from a URL or a folder to where it belongs: with progress, resumed where it stopped, whole or not there."""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tqdm import tqdm

from src.data.reading import DataError

SUMS_FILE = "SHA256SUMS"
_MEANING = "%/:?#[]@!$&'()*+,;=~"
"""What means something in an address, or is written as one should already (RFC 3986, section 2)."""
_BLOCK = 2**20
_TIMEOUT = 30.0
_ATTEMPTS = 5


class Absent(Exception):
    """The source does not have the file."""


class Source:
    """A folder, or an address under which files lie by name.

    Args:
        place: a path, or an address beginning with file://, http:// or https://.
        pause: seconds before a broken transfer is taken up again; doubled each time.

    Raises:
        DataError: it begins as an address and is none.
    """

    def __init__(self, place: str, pause: float = 1.0) -> None:
        try:
            parts = urlsplit(place)
        except ValueError as error:
            raise DataError(f"{place} is no address ({error})") from None
        self.folder = Path(unquote(parts.path)) if parts.scheme == "file" else Path(place)
        self.address = quote(place.rstrip("/"), _MEANING) if parts.scheme in ("http", "https") else None
        self._pause = pause

    def checksums(self) -> dict[str, str]:
        """SHA-256 by file name, from the source's SHA256SUMS; empty when it has none."""
        try:
            if self.address is None:
                text = (self.folder / SUMS_FILE).read_text(encoding="utf-8")
            else:
                with _open(f"{self.address}/{SUMS_FILE}") as response:
                    text = response.read().decode()
        except (Absent, FileNotFoundError, NotADirectoryError):
            return {}
        pairs = (line.split(None, 1) for line in text.splitlines())
        return {pair[1].strip().lstrip("*").removeprefix("./"): pair[0].lower() for pair in pairs if len(pair) == 2}

    def fetch(self, name: str, target: Path) -> None:
        """Bring one file; an interrupted transfer goes on where it stopped, if the source still has the same file.

        Raises:
            Absent: the source has no file of that name.
            DataError: the source cannot be reached, or breaks off again and again.
        """
        if self.address is None:
            self._copy(self.folder / name, target)
        else:
            fetch(f"{self.address}/{name}", target, self._pause)

    def _copy(self, source: Path, target: Path) -> None:
        if not source.is_file():
            raise Absent(str(source))
        if source.resolve() == target.resolve():
            return
        partial = _partial(target)
        with source.open("rb") as file, partial.open("wb") as copy, _bar(source.name, source.stat().st_size) as bar:
            while block := file.read(_BLOCK):
                copy.write(block)
                bar.update(len(block))
            _flush(copy)
        partial.replace(target)


def fetch(url: str, target: Path, pause: float = 1.0) -> None:
    """Download to `target`, through `<target>.partial`. Raises as `Source.fetch` does."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(_ATTEMPTS):
        before = _size(_partial(target))
        try:
            if _receive(url, target):
                return
            reason = "the connection broke off"
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        if _size(_partial(target)) == before == 0:
            break
        time.sleep(pause * 2**attempt)
    kept = _size(_partial(target))
    raise DataError(f"{url} cannot be fetched: {reason}" + (f"; {kept:,} bytes are kept: run again" if kept else ""))


def _receive(url: str, target: Path) -> bool:
    """One attempt. Whether the file is whole now."""
    partial, version = _partial(target), target.with_name(f"{target.name}.partial.version")
    begin = _size(partial) if version.exists() else 0
    # If-Range (RFC 9110, section 13.1.5): the rest if the file is still the same, otherwise all of it.
    headers = {"Range": f"bytes={begin}-", "If-Range": version.read_text()} if begin else {}
    try:
        response = _open(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        whole = (error.headers["Content-Range"] or "").endswith(f"/{begin}")
        if whole:
            partial.replace(target)
        partial.unlink(missing_ok=True)
        version.unlink(missing_ok=True)
        return whole
    with response:
        resumed = response.status == 206 and (response.headers["Content-Range"] or "").startswith(f"bytes {begin}-")
        begin = begin if resumed else 0
        rest = response.headers["Content-Length"]
        total = begin + int(rest) if rest else None
        mark = _mark(response)
        if not resumed:
            version.unlink(missing_ok=True)
        with partial.open("ab" if resumed else "wb") as file, _bar(target.name, total, begin) as bar:
            if mark:
                version.write_text(mark)
            try:
                for block in _blocks(response):
                    file.write(block)
                    bar.update(len(block))
            finally:
                _flush(file)
    if total is not None and _size(partial) < total:
        return False
    partial.replace(target)
    version.unlink(missing_ok=True)
    return True


def _open(url: str, headers: dict[str, str] | None = None) -> HTTPResponse:
    try:
        response: HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers or {}), timeout=_TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code in (403, 404, 410):
            raise Absent(f"{url}: {error.code} {error.reason}") from None
        raise
    return response


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    while block := response.read1(_BLOCK):
        yield block


def _mark(response: HTTPResponse) -> str | None:
    """What names this version of the file; a weak ETag may not be used for ranges."""
    etag: str | None = response.headers["ETag"]
    return etag if etag and not etag.startswith("W/") else response.headers["Last-Modified"]


def sha256_with_progress(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
        while block := file.read(_BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _bar(name: str, total: int | None, initial: int = 0) -> tqdm[Any]:
    return tqdm(desc=name, total=total, initial=initial, unit="B", unit_scale=True, unit_divisor=1024, disable=None)
