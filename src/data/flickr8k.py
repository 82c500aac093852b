"""Flickr8k (Hodosh, Young and Hockenmaier, JAIR 2013), in the forms people have it:

- `Flickr8k_Dataset.zip` and `Flickr8k_text.zip`, as its authors distributed it, zipped or unpacked;
- one folder with `Images/` and `captions.txt` (header `image,caption`), as it circulates since, without splits.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from src.data import karpathy
from src.data.distribution import Distribution
from src.data.manifest import Split
from src.data.reading import Reading, assemble, divide

_TOKENS, _TABLE = "Flickr8k.token.txt", "captions.txt"
_SPLIT_FILES: dict[Split, str] = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}


def read(root: Path) -> Reading:
    """Raises DataError: images or captions are missing, or an archive is damaged."""
    files = Distribution(root, "flickr8k")
    images = files.images()
    captions, unreadable = token_captions(files, _TOKENS) if _TOKENS in files else _table_captions(files)
    splits, note = _splits(files, set(captions) & set(images.found))
    return assemble(
        "flickr8k",
        images.found,
        captions,
        splits,
        duplicate_names=images.duplicate_names,
        unreadable_lines=unreadable,
        notes=[*images.notes, *note],
    )


def token_captions(files: Distribution, filename: str) -> tuple[dict[str, list[str]], list[str]]:
    """Captions by image, and the lines that hold none, of a file with lines 'image.jpg#0<tab>caption'."""
    captions: dict[str, list[str]] = defaultdict(list)
    unreadable = []
    for number, line in files.lines(filename):
        key, tab, caption = line.partition("\t")
        image, mark, _ = key.rpartition("#")
        if tab and mark:
            captions[image].append(caption)
        else:
            unreadable.append(f"{filename}:{number}: {line}")
    return dict(captions), unreadable


def _table_captions(files: Distribution) -> tuple[dict[str, list[str]], list[str]]:
    """The same of lines 'image.jpg,caption', in which quotes surround a caption that has commas."""
    if _TABLE not in files:
        raise files.missing(f"{_TOKENS} or {_TABLE}")
    captions: dict[str, list[str]] = defaultdict(list)
    unreadable = []
    for number, line in files.lines(_TABLE):
        image, comma, caption = line.partition(",")
        caption = caption.strip()
        if number == 1 and image.strip() == "image":
            continue
        if caption.startswith('"') and caption.endswith('"') and len(caption) > 1:
            caption = caption[1:-1].replace('""', '"')
        if comma:
            captions[image.strip()].append(caption)
        else:
            unreadable.append(f"{_TABLE}:{number}: {line}")
    return dict(captions), unreadable


def _splits(files: Distribution, names: set[str]) -> tuple[dict[str, tuple[Split, ...]], list[str]]:
    if all(filename in files for filename in _SPLIT_FILES.values()):
        splits: dict[str, tuple[Split, ...]] = {}
        for split, filename in _SPLIT_FILES.items():
            for image in {line.strip() for _, line in files.lines(filename)}:
                splits[image] = (*splits.get(image, ()), split)
        return splits, []
    if karpathy.filename("flickr8k") in files:
        return {entry.filename: (entry.split,) for entry in karpathy.entries(files)}, ["splits as in Karpathy's file"]
    return divide(names, val=1 / 8, test=1 / 8), [
        "no split files (Flickr_8k.trainImages.txt and so on): images are divided 6 : 1 : 1 by the hash of their "
        "names, so results cannot be compared with published ones"
    ]
