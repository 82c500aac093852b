"""Where the files of a zip, a tar or a folder lie, without unpacking anything."""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from src.data.manifest import Location
from src.data.reading import DataError

_LOCAL_HEADER = 30
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_IMAGE = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive or folder, `path` counted from its top, with forward slashes."""

    path: str
    location: Location

    @property
    def filename(self) -> str:
        return self.path.rpartition("/")[2]


def members(source: Path, root: Path) -> list[Member]:
    """The files of an archive or folder, in its own order (a folder's by name), located relative to `root`.

    What operating systems leave behind (`__MACOSX`, hidden files, `Thumbs.db`) is left out.

    Raises:
        DataError: `source` is missing, damaged, encrypted, compressed as a whole, or no zip, tar or folder.
    """
    if source.is_dir():
        found = list(_folder(source, root))
    elif not source.exists():
        raise DataError(f"{source} is missing")
    elif is_compressed(source):
        raise DataError(f"{source} is compressed as a whole: {unpack_hint(source)}")
    elif zipfile.is_zipfile(source) and not tarfile.is_tarfile(source):  # known by its end, a zip may end a tar
        found = _zip(source, _relative(source, root))
    elif source.suffix == ".zip":
        raise DataError(f"{source} is damaged: its end, which lists the contents, is missing; fetch it again")
    else:
        found = _tar(source, _relative(source, root))
    return [member for member in found if not _litter(member.path)]


def is_compressed(source: Path) -> bool:
    """Whether a tar is compressed as a whole, so that no file in it can be reached without unpacking all before it."""
    return source.name.endswith(_COMPRESSED)


def unpack_hint(source: Path) -> str:
    program = {".bz2": "bunzip2", ".xz": "unxz"}.get(source.suffix, "gunzip")
    return f"run `{program} {source}` and keep the .tar"


def is_image(filename: str) -> bool:
    """By its extension; 'a.jpg.1', as some downloaders name a second copy, is an image too."""
    stem, _, suffix = filename.lower().rpartition(".")
    return (stem if suffix.isdigit() else filename.lower()).endswith(_IMAGE)


def _folder(source: Path, root: Path) -> Iterator[Member]:
    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None

    for folder, folders, files in os.walk(source, followlinks=True, onerror=refuse):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            try:
                size = path.stat().st_size
            except OSError as error:
                refuse(error)
            yield Member(_shown(path.relative_to(source).as_posix()), Location(_relative(path, root), 0, size))


def _zip(source: Path, path: str) -> list[Member]:
    try:
        with zipfile.ZipFile(source) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, IndexError) as error:
        raise DataError(f"{source} is damaged: {error}; fetch it again") from None
    odd = next((info for info in infos if info.flag_bits & 1 or info.compress_type not in _METHODS), None)
    if odd:
        raise DataError(f"{source}: {odd.filename} is encrypted or compressed by other means than DEFLATE: repack it")
    found = []
    size = source.stat().st_size
    # The central directory does not say where a member's data begins: its own header, of variable length, lies before.
    with source.open("rb") as file:
        for info in infos:
            begin = info.header_offset
            header = os.pread(file.fileno(), _LOCAL_HEADER, begin) if begin >= 0 else b""
            if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
                raise DataError(f"{source} is damaged: no file begins at byte {begin}; fetch it again")
            offset = begin + _LOCAL_HEADER + sum(struct.unpack_from("<HH", header, 26))
            if offset + info.compress_size > size:
                raise DataError(f"{source} is damaged: it ends before {info.filename} does; fetch it again")
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            name = info.filename.replace("\\", "/")  # PowerShell 5 and older .NET write backslashes
            found.append(Member(name, Location(path, offset, info.compress_size, deflated, info.CRC)))
    return found


def _tar(source: Path, path: str) -> list[Member]:
    try:
        with source.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            infos = archive.getmembers()
            end = os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{source} is damaged, or no uncompressed tar: {error}; fetch it again") from None
    # tarfile takes whatever is no header for the end.
    if end != bytes(tarfile.BLOCKSIZE):
        raise DataError(
            f"{source} is damaged: neither a file nor the archive's end is at byte {archive.offset}; fetch it again"
        )
    stored = {info.name: info for info in infos}
    named = ((info.name, stored.get(info.linkname) if info.islnk() else info) for info in infos)
    return [
        Member(_shown(name.removeprefix("./")), Location(path, info.offset_data, info.size))
        for name, info in named
        if info and info.isreg() and not info.issparse()
    ]


def _shown(path: str) -> str:
    """As UTF-8 can write it: Python keeps the bytes of other names as lone surrogates."""
    return path.encode(errors="backslashreplace").decode()


def _litter(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return parts[-1] == "Thumbs.db" or any(part == "__MACOSX" or part.startswith(".") for part in parts)


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()
