"""MS COCO captions (Chen et al. 2015), editions 2014 and 2017, images and annotations in zips or folders.

Captions come from `captions_{train,val}{2014,2017}.json`, or, where these are missing, from Karpathy's
`dataset_coco.json`. The splits are Karpathy's where his file is there (113,287 / 5,000 / 5,000 images); otherwise the
official validation set is divided in two, because the official test set has no public captions.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from src.data import karpathy
from src.data.archives import Member
from src.data.distribution import Distribution
from src.data.manifest import Split
from src.data.reading import DataError, Reading, assemble, divide

_YEARS = ("2014", "2017")
_UNCAPTIONED = ("test2014", "test2015", "test2017", "unlabeled2017")


def read(root: Path) -> Reading:
    """Raises DataError: images or captions are missing or of different editions, or an archive is damaged."""
    files = Distribution(root, "coco")
    year = _year(files)
    editions = {_edition_of_name(name) for name in files.images(_captioned).found}
    if editions.isdisjoint((year, None)):
        (other,) = editions
        raise DataError(
            f"{files.folder} holds images of {other}, but captions of {year}: put annotations_trainval{other}.zip there"
        )
    images = files.images(lambda member: _captioned(member) and _edition(member) in (year, None))
    karpathys = karpathy.filename("coco") in files
    if any(_annotations(part, year) in files for part in ("train", "val")):
        names, captions, official, unreadable = _official(files, year)
        splits, note = (_by_number(files, names), []) if karpathys else _halves(official, year)
    else:
        entries = karpathy.entries(files)
        captions = {entry.filename: list(entry.captions) for entry in entries}
        splits, note, unreadable = {entry.filename: (entry.split,) for entry in entries}, [], []
    return assemble(
        "coco",
        images.found,
        captions,
        splits,
        duplicate_names=images.duplicate_names,
        unreadable_lines=unreadable,
        notes=[f"edition of {year}", *images.notes, *note],
    )


def _year(files: Distribution) -> str:
    """The edition to read: one whose annotations are there; of two the one that has images, 2014 before 2017."""
    years = [year for year in _YEARS if any(_annotations(part, year) in files for part in ("train", "val"))]
    if len(years) > 1:
        editions = {_edition_of_name(name) for name in files.images(_captioned).found}
        years = [year for year in years if year in editions] or years
    if not years and karpathy.filename("coco") not in files:
        raise files.missing("captions (captions_train2014.json and so on, or dataset_coco.json)")
    return years[0] if years else "2014"


def _official(
    files: Distribution, year: str
) -> tuple[dict[int, str], dict[str, list[str]], dict[str, tuple[Split, ...]], list[str]]:
    """File names by COCO's number, captions by file name, official splits, and captions of images nowhere listed."""
    names: dict[int, str] = {}
    captions: dict[str, list[str]] = defaultdict(list)
    splits: dict[str, tuple[Split, ...]] = {}
    unreadable = []
    parts: tuple[Split, ...] = ("train", "val")
    for part in parts:
        filename = _annotations(part, year)
        if filename not in files:
            continue
        stored = files.json(filename)
        try:
            for image in stored["images"]:
                name = image["file_name"]
                names[image["id"]] = name
                splits[name] = tuple(dict.fromkeys((*splits.get(name, ()), part)))
            for annotation in stored["annotations"]:
                number, caption = annotation["image_id"], annotation["caption"]
                if number in names:
                    captions[names[number]].append(caption)
                else:
                    unreadable.append(f"{filename}: image {number} is not listed: {caption}")
        except (KeyError, TypeError) as error:
            raise DataError(f"{files.folder}: {filename} lacks {error}; fetch it again") from None
    return names, dict(captions), splits, unreadable


def _by_number(files: Distribution, names: dict[int, str]) -> dict[str, tuple[Split, ...]]:
    """Karpathy's splits. His file has the names of 2014; both editions share the numbers."""
    return {
        names[entry.coco_id]: (entry.split,)
        for entry in karpathy.entries(files)
        if entry.coco_id is not None and entry.coco_id in names
    }


def _halves(official: dict[str, tuple[Split, ...]], year: str) -> tuple[dict[str, tuple[Split, ...]], list[str]]:
    held_out = divide((name for name, splits in official.items() if splits == ("val",)), val=0.5, test=0.5)
    return official | held_out, [
        f"no dataset_coco.json: val{year} is divided in halves for validation and test by the hash of the file names"
    ]


def _annotations(part: str, year: str) -> str:
    return f"captions_{part}{year}.json"


def _captioned(member: Member) -> bool:
    return not any(part in member.path or part in member.location.path for part in _UNCAPTIONED)


def _edition(member: Member) -> str | None:
    return _edition_of_name(member.filename)


def _edition_of_name(filename: str) -> str | None:
    """By the file name: 'COCO_train2014_000000000009.jpg' or '000000000009.jpg'; None for names of neither form."""
    if filename.startswith("COCO_"):
        return "2014"
    return "2017" if filename.partition(".")[0].isdigit() else None
