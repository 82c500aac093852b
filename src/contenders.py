"""Other models' captions of the test images, to be held against the recurrent model's: BLIP's, an earlier version's."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from src.errors import MissingFile, UserError
from src.places import Places

BASELINE = "BLIP"
CAPTIONS_FILE = "captions.json"
ORDER = ("LSTM", "GRU", BASELINE)
"""Of models in files and tables; others come last."""


@dataclass(frozen=True)
class Contender:
    """What a model says of the test images, and which model it is.

    Attributes:
        captions: image name, as in the manifest -> caption; images outside the test split are passed over.
        origin: facts to know the model by, written and shown as they are: {"version": "3", "run_id": ...}.
    """

    captions: Mapping[str, str]
    origin: Mapping[str, Any]


def baseline(places: Places) -> Contender | None:
    """BLIP, where its stage has captioned the test images.

    Raises:
        UserError: one of its two files is missing or is not what the stage writes.
    """
    path = places.baseline / CAPTIONS_FILE
    if not path.exists():
        return None
    if not places.baseline_report.exists():
        raise MissingFile(f"{places.baseline_report} is missing: run `dvc repro baseline`")
    try:
        captions = json.loads(path.read_text(encoding="utf-8"))["test"]
        report = json.loads(places.baseline_report.read_text(encoding="utf-8"))
        run_id = str(report["run_id"])
        sound = all(isinstance(caption, str) for caption in captions.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} or {places.baseline_report} is damaged ({error!r}): run `dvc repro baseline`"
        ) from error
    if not sound:
        raise UserError(f"{path} holds captions that are no text: run `dvc repro baseline`")
    known = {key: report[key] for key in ("checkpoint", "finetuned_on", "digest") if key in report}
    return Contender(captions, known | {"run_id": run_id})


def side_by_side(contenders: Mapping[str, Contender], images: Collection[str]) -> dict[str, Contender]:
    """The contenders in their order, each with its captions of exactly these images, in their order.

    Raises:
        UserError: a contender lacks a caption, so its captions are of another dataset.
    """
    found = {}
    for name in sorted(contenders, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)):
        contender = contenders[name]
        if missing := [image for image in images if image not in contender.captions]:
            raise UserError(
                f"{name}'s captions lack {len(missing)} of the {len(images)} test images, {missing[0]} for one: they "
                f"are of another dataset or split{', run `dvc repro baseline`' if name == BASELINE else ''}"
            )
        found[name] = Contender({image: contender.captions[image] for image in images}, contender.origin)
    return found
