"""Flickr30k (Young et al., TACL 2014): images in a zip, a tar or a folder, with captions in one of three forms:

- `dataset_flickr30k.json`, Karpathy's file, which also has the splits; used for them even where another form is there;
- `results_20130124.token`, the authors' own;
- `results.csv`, as it circulates since.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from src.data import karpathy
from src.data.distribution import Distribution
from src.data.flickr8k import token_captions
from src.data.manifest import Split
from src.data.reading import Reading, assemble, divide

_TOKENS, _TABLE = "results_20130124.token", "results.csv"
_HELD_OUT = 1000 / 31_783
_ROW = re.compile(r"([^|]+)\|\s*(\d+)\s*(?:\|\s?|\s{2,})(.*)")
"""'1000092795.jpg| 0| Two young guys ...'; one row lacks its second bar: '2199200615.jpg| 4   A dog runs ...'."""


def read(root: Path) -> Reading:
    """Raises DataError: images or captions are missing, or an archive is damaged."""
    files = Distribution(root, "flickr30k")
    images = files.images()
    entries = karpathy.entries(files) if karpathy.filename("flickr30k") in files else []
    if _TOKENS in files:
        captions, unreadable = token_captions(files, _TOKENS)
    elif _TABLE in files:
        captions, unreadable = _table_captions(files)
    elif entries:
        captions, unreadable = {entry.filename: list(entry.captions) for entry in entries}, []
    else:
        raise files.missing(f"captions ({karpathy.filename('flickr30k')}, {_TOKENS} or {_TABLE})")
    splits: dict[str, tuple[Split, ...]]
    if entries:
        splits, note = {entry.filename: (entry.split,) for entry in entries}, []
    else:
        splits = divide(set(captions) & set(images.found), val=_HELD_OUT, test=_HELD_OUT)
        note = [
            "no dataset_flickr30k.json: one image in 32 each is held out for validation and test, by the hash of its "
            "name, so results cannot be compared with published ones"
        ]
    return assemble(
        "flickr30k",
        images.found,
        captions,
        splits,
        duplicate_names=images.duplicate_names,
        unreadable_lines=unreadable,
        notes=[*images.notes, *note],
    )


def _table_captions(files: Distribution) -> tuple[dict[str, list[str]], list[str]]:
    captions: dict[str, list[str]] = defaultdict(list)
    unreadable = []
    for number, line in files.lines(_TABLE):
        row = _ROW.fullmatch(line)
        if row:
            captions[row[1].strip()].append(row[3])
        elif number > 1:
            unreadable.append(f"{_TABLE}:{number}: {line}")
    return dict(captions), unreadable
