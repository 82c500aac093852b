"""Photographs that two datasets share, and that a union of them must not both learn from and be judged by.

Flickr30k grew out of Flickr8k (Young et al., TACL 2014, section 2) but was divided anew, so training photographs of one
are test photographs of the other. Both name a photograph by its number at Flickr: '1000268201_693b08cb0e.jpg' and
'1000268201.jpg'. COCO's names say nothing about where a photograph came from.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from src.data.integrity import EXAMPLES
from src.data.manifest import SPLITS, ImageRecord

_DATASETS = ("flickr8k", "flickr30k")


def leaks(images: Iterable[ImageRecord]) -> set[str]:
    """Names of the images to leave out: of a photograph that both datasets have, in several splits, only its images in
    the last split stay.

    Test comes after validation, and validation after training.
    """
    photographs: dict[str, list[ImageRecord]] = defaultdict(list)
    for image in images:
        if image.dataset in _DATASETS:
            photographs[re.split(r"[_.]", image.filename, maxsplit=1)[0]].append(image)
    return {
        image.name
        for same in photographs.values()
        if len({image.dataset for image in same}) > 1
        for image in same
        if SPLITS.index(image.split) < max(SPLITS.index(other.split) for other in same)
    }


def report(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """In the shape of `src.data.integrity.Inspection.report`."""
    found = sorted(names)
    return {
        "photographs_in_two_splits": {
            "count": len(found),
            "fate": "skipped",
            "meaning": "images whose photograph another dataset of the union holds out for validation or test",
            "examples": found[:EXAMPLES],
        }
    }
