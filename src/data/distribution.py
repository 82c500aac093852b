"""Everything that lies in one dataset's folder, loose or in archives, under one roof."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.data.archives import Member, is_compressed, is_image, members, unpack_hint
from src.data.images import ImageBytes
from src.data.manifest import Location
from src.data.reading import DataError

_ARCHIVES = (".zip", ".tar")


@dataclass(frozen=True)
class ImageFiles:
    """Images by file name; which names occur twice; what a person should know about the choice."""

    found: dict[str, Location]
    duplicate_names: tuple[str, ...]
    notes: tuple[str, ...]


class Distribution:
    """The files of `root/dataset` and of the archives in it, at any depth.

    A loose file comes before one of the same name in an archive where texts are concerned (people repair texts), and
    after it where images are (people unpack an archive and leave it there).
    """

    def __init__(self, root: Path, dataset: str) -> None:
        """Raises DataError: the folder is missing, or an archive in it is damaged."""
        self.root, self.dataset, self.folder = root, dataset, root / dataset
        if not self.folder.is_dir():
            raise DataError(f"{self.folder} is missing: {self._fetch}")
        self._loose = members(self.folder, root)
        paths = [root / member.location.path for member in self._loose]
        self._compressed = [path for path in paths if is_compressed(path)]
        self._archived = [
            member for path in paths if path.suffix.lower() in _ARCHIVES for member in members(path, root)
        ]
        self._files = {member.filename: member for member in reversed((*self._loose, *self._archived))}

    def images(self, wanted: Callable[[Member], bool] = lambda member: True) -> ImageFiles:
        """The images among the files. Of duplicates the first counts.

        Raises:
            DataError: there is none.
        """
        archived, twice = _by_name(member for member in self._archived if is_image(member.filename) and wanted(member))
        loose, twice_loose = _by_name(member for member in self._loose if is_image(member.filename) and wanted(member))
        both = loose.keys() & archived.keys()
        notes = (f"{len(both):,} loose images lie in an archive too: the archive's are used",) if both else ()
        if not archived and not loose:
            raise self.missing("images")
        return ImageFiles(loose | archived, tuple(sorted(twice | twice_loose)), notes)

    def text(self, *filenames: str) -> str:
        """The contents of the first of these files that is there.

        Raises:
            DataError: none is, or it is not UTF-8.
        """
        for filename in filenames:
            member = self._files.get(filename)
            if member:
                try:
                    return ImageBytes(self.root)(member.location).decode("utf-8-sig")
                except UnicodeDecodeError as error:
                    raise DataError(f"{self.folder}: {member.path} is not UTF-8 (byte {error.start})") from None
        raise self.missing(" or ".join(filenames))

    def lines(self, *filenames: str) -> Iterator[tuple[int, str]]:
        """Number (from 1) and text of the lines of a file that are not blank."""
        for number, line in enumerate(re.split(r"\r?\n", self.text(*filenames)), start=1):
            if line.strip():
                yield number, line

    def json(self, filename: str) -> Any:
        try:
            return json.loads(self.text(filename))
        except ValueError as error:
            raise DataError(f"{self.folder}: {filename} is not JSON ({error}); fetch it again") from None

    def __contains__(self, filename: str) -> bool:
        return filename in self._files

    def missing(self, what: str) -> DataError:
        """The error to raise when something that the reader needs is not there."""
        hints = "".join(f"; {path.name} may hold them: {unpack_hint(path)}" for path in self._compressed)
        return DataError(f"{self.folder} holds no {what}{hints or f': {self._fetch}'}")

    @property
    def _fetch(self) -> str:
        if self.dataset == "sample":
            return "run `python -m src.data.sample`"
        return f"run `python -m src.data.download {self.dataset}`"


def _by_name(files: Iterator[Member]) -> tuple[dict[str, Location], set[str]]:
    found: dict[str, Location] = {}
    twice: set[str] = set()
    for member in files:
        if member.filename in found:
            twice.add(member.filename)
        else:
            found[member.filename] = member.location
    return found, twice
