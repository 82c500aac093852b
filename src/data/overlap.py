"""Images that a union of datasets leaves out: what it would both learn from and be judged by, and what is held out by
datasets that it is not judged by.

Flickr30k grew out of Flickr8k (Young et al., TACL 2014, section 2) but was divided anew, so training photographs of one
are test photographs of the other. Both name a photograph by its number at Flickr: '1000268201_693b08cb0e.jpg' and
'1000268201.jpg'. COCO's names say nothing about where a photograph came from.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from src.data.integrity import EXAMPLES
from src.data.manifest import SPLITS, ImageRecord

_DATASETS = ("flickr8k", "flickr30k")
_KINDS = {
    "held_out_by_others": "validation and test images of datasets other than dataset.held_out",
    "photographs_in_two_splits": "images whose photograph another dataset holds out for validation or test",
}


def left_out(images: Sequence[ImageRecord], held_out: str) -> dict[str, set[str]]:
    """For each kind of image to leave out the names concerned.

    Images that others hold out are neither learnt from nor judged by, so that figures of those datasets, too, can later
    be compared. Of a photograph that is in several splits only its images in the last one stay: test comes after
    validation, and validation after training.

    Args:
        held_out: `dataset.held_out`.
    """
    others = {image.name for image in images if held_out not in ("all", image.dataset) and image.split != SPLITS[0]}
    twins = _leaks(image for image in images if image.name not in others)
    return dict(zip(_KINDS, (others, twins), strict=True))


def _leaks(images: Iterable[ImageRecord]) -> set[str]:
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


def report(found: Mapping[str, Iterable[str]]) -> dict[str, dict[str, Any]]:
    """What `left_out` found, in the shape of `src.data.integrity.Inspection.report`."""
    return {
        kind: {
            "count": len(names := sorted(found[kind])),
            "fate": "skipped",
            "meaning": meaning,
            "examples": names[:EXAMPLES],
        }
        for kind, meaning in _KINDS.items()
    }
