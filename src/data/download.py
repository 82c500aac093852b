"""Bring a dataset into data/<name>: by URL, or from a folder or address that has its files.

    python -m src.data.download flickr8k
    python -m src.data.download coco --from /media/disk/coco
    python -m src.data.download flickr30k --from https://files.example.org/flickr30k

A transfer that was interrupted goes on where it stopped when the command is run again. Files are checked against a
SHA256SUMS beside them, if there is one. Archives stay packed: images are read out of them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from src.data.archives import members
from src.data.reading import DataError
from src.data.transfer import SUMS_FILE, Absent, Source, sha256_with_progress
from src.errors import reported


@dataclass(frozen=True)
class Part:
    """Something a dataset consists of.

    Attributes:
        names: files that hold it; the first that a source has is enough.
        url: where the first of `names` can be fetched; None where only its authors hand it out, on request.
        size: about how large the first of `names` is.
        missing: what happens without it; None when there is no doing without.
    """

    what: str
    names: tuple[str, ...]
    size: str
    url: str | None = None
    missing: str | None = None


@dataclass(frozen=True)
class Collection:
    page: str
    """Where its authors describe it and hand it out."""
    parts: tuple[Part, ...]


_FLICKR8K = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
_COCO = "http://images.cocodataset.org"
_KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent"

COLLECTIONS = {
    "flickr8k": Collection(
        "https://hockenmaier.cs.illinois.edu/8k-pictures.html",
        (
            Part("images", ("Flickr8k_Dataset.zip",), "1.1 GB", f"{_FLICKR8K}/Flickr8k_Dataset.zip"),
            Part("captions and splits", ("Flickr8k_text.zip",), "2 MB", f"{_FLICKR8K}/Flickr8k_text.zip"),
        ),
    ),
    "flickr30k": Collection(
        "https://shannon.cs.illinois.edu/DenotationGraph/",
        (
            Part("images", ("flickr30k-images.tar", "flickr30k-images.zip", "flickr30k_images.zip"), "4.4 GB"),
            Part(
                "captions and splits",
                ("caption_datasets.zip", "dataset_flickr30k.json", "results_20130124.token", "results.csv"),
                "36 MB",
                f"{_KARPATHY}/caption_datasets.zip",
            ),
        ),
    ),
    "coco": Collection(
        "https://cocodataset.org/#download",
        (
            Part("training images", ("train2014.zip", "train2017.zip"), "13 GB", f"{_COCO}/zips/train2014.zip"),
            Part("validation images", ("val2014.zip", "val2017.zip"), "6 GB", f"{_COCO}/zips/val2014.zip"),
            Part(
                "captions",
                ("annotations_trainval2014.zip", "annotations_trainval2017.zip"),
                "241 MB",
                f"{_COCO}/annotations/annotations_trainval2014.zip",
            ),
            Part(
                "Karpathy's split",
                ("caption_datasets.zip", "dataset_coco.json"),
                "36 MB",
                f"{_KARPATHY}/caption_datasets.zip",
                missing="the official validation set will be divided for validation and test",
            ),
        ),
    ),
}


def download(dataset: str, root: Path, place: str | None = None, pause: float = 1.0) -> None:
    """Bring every part of `dataset` into `root/dataset`; what is there already is checked and left alone.

    Args:
        place: a folder, or an address beginning with file://, http:// or https://, that has the files; None takes each
            part from its own address.
        pause: seconds before a broken transfer is taken up again; doubled each time.

    Raises:
        DataError: a part cannot be had, has another checksum than its source says, or is a damaged archive. The message
            says what to fetch by hand, and where to put it.
    """
    collection, folder = COLLECTIONS[dataset], root / dataset
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}): name another folder (--root)") from None
    everything = Source(place, pause) if place else None
    try:
        sums = everything.checksums() if everything else {}
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(
            f"{place} cannot be reached ({error}).\n{_by_hand(dataset, collection.parts, folder)}"
        ) from None
    lacking = []
    for part in collection.parts:
        if any((folder / name).exists() for name in part.names):
            name = next(name for name in part.names if (folder / name).exists())
            print(f"{folder / name} is there already")
        else:
            try:
                name = _bring(part, folder, everything, pause)
            except Absent:
                if part.missing is None:
                    lacking.append(part)
                else:
                    print(f"{part.what} not found: {part.missing}")
                continue
            except DataError as error:
                raise DataError(f"{error}\n{_by_hand(dataset, collection.parts, folder)}") from None
        _check(folder / name, sums.get(name))
    if lacking:
        missing = ", ".join(part.what for part in lacking)
        raise DataError(f"{place or 'the network'} has no {missing}.\n{_by_hand(dataset, lacking, folder)}")


def _bring(part: Part, folder: Path, everything: Source | None, pause: float) -> str:
    """Fetch the first of the part's files that the source has, and say which."""
    if everything is None:
        if part.url is None:
            raise Absent(part.what)
        name = part.names[0]
        Source(part.url.rpartition("/")[0], pause).fetch(name, folder / name)
        return name
    for name in part.names:
        try:
            everything.fetch(name, folder / name)
            return name
        except Absent:
            continue
    raise Absent(part.what)


def _check(path: Path, expected: str | None) -> None:
    """The checksum, where one is known, and whether an archive opens. A file that fails is taken away."""
    digest = sha256_with_progress(path)
    if expected is None:
        print(f"{digest}  {path}")
    elif digest != expected:
        bad = path.rename(path.with_name(f"{path.name}.bad"))
        raise DataError(
            f"{path}: SHA-256 is {digest}, but {SUMS_FILE} says {expected}; kept as {bad.name}, fetch it again"
        )
    if path.suffix in (".zip", ".tar"):
        try:
            members(path, path.parent)
        except DataError as error:
            bad = path.rename(path.with_name(f"{path.name}.bad"))
            raise DataError(f"{error}; kept as {bad.name}") from None


def _by_hand(dataset: str, parts: tuple[Part, ...] | list[Part], folder: Path) -> str:
    lines = [f"Get these by hand and put them in {folder}/ (described at {COLLECTIONS[dataset].page}):"]
    for part in parts:
        where = part.url or f"on request from {COLLECTIONS[dataset].page}"
        lines.append(f"  {' or '.join(part.names)} ({part.what}, about {part.size}): {where}")
    lines.append("A folder or server that has them will do: --from DIR_OR_URL. A .tar.gz has to be unpacked to a .tar.")
    return "\n".join(lines)


@reported()
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m src.data.download", description="Bring a dataset into data/<name>."
    )
    parser.add_argument("dataset", choices=sorted(COLLECTIONS))
    parser.add_argument("--from", dest="place", metavar="DIR_OR_URL", help="a folder or address that has the files")
    parser.add_argument("--root", type=Path, default=Path("data"), help="dataset.root of params.yaml (default: data)")
    arguments = parser.parse_args()
    download(arguments.dataset, arguments.root, arguments.place)
    print(f"\nNow: dvc add {arguments.root}\nthen: dvc exp run -S dataset.name={arguments.dataset}")


if __name__ == "__main__":
    main()
