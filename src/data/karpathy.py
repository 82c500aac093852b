"""The splits most papers report on, as their author distributes them: dataset_{flickr8k,flickr30k,coco}.json.

Karpathy and Fei-Fei 2015, "Deep Visual-Semantic Alignments for Generating Image Descriptions", section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

from src.data.distribution import Distribution
from src.data.manifest import Split
from src.data.reading import DataError

_SPLITS: dict[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image: `coco_id` is COCO's own number, None in other datasets."""

    filename: str
    split: Split
    captions: tuple[str, ...]
    coco_id: int | None


def filename(dataset: str) -> str:
    return f"dataset_{dataset}.json"


def entries(files: Distribution) -> list[Entry]:
    """The images of `dataset_<name>.json`; 'restval', the part of COCO's validation set left over, counts as 'train'.

    Raises:
        DataError: the file is missing, or lacks what it should hold.
    """
    name = filename(files.dataset)
    stored = files.json(name)
    try:
        return [
            Entry(
                image["filename"],
                _SPLITS[image["split"]],
                tuple(sentence["raw"] for sentence in image["sentences"]),
                image.get("cocoid"),
            )
            for image in stored["images"]
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"{files.folder}: {name} lacks {error}; fetch it again") from None
