"""The captions of other registered models on the same test images, so that LSTM, GRU and BLIP stand in one table."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config import Promote
from src.contenders import Contender
from src.data.manifest import Manifest
from src.errors import UserError
from src.registry.promotion import ranking
from src.registry.registration import DETAILS_FILE
from src.registry.versions import FOLDER, Registry

if TYPE_CHECKING:
    from src.models.captioner import Captioner

DETAILS = f"{FOLDER}/{DETAILS_FILE}"
log = logging.getLogger(__name__)


def rivals(
    dataset: Path, own: str, metric: str = Promote().metric, registry: Registry | None = None
) -> dict[str, Contender]:
    """Of each other recurrent cell the best registered version on the same data, by the validation images; one that was
    rolled back from only where there is no other.

    Args:
        dataset: folder of the manifest.
        own: name of the model that is evaluated now: LSTM or GRU.

    Returns:
        name -> captions and origin (version, run, digest, validation figure); empty when no other cell is registered on
        this data, and without those whose captions are gone.

    Raises:
        StoreError: the store cannot be opened.
    """
    registry, manifest = registry or Registry(), Manifest.load(dataset)
    test = manifest.split("test")
    found: dict[str, Contender] = {}
    for value, version in ranking(registry.versions(), manifest.digest, metric, withdrawn=True):
        if version.name == own or version.name in found:
            continue
        try:
            images = json.loads(registry.text(version, DETAILS))["models"][version.name]["test_images"]
        except (UserError, OSError, ValueError, KeyError) as error:
            log.warning("%s is left out: its captions cannot be read (%s)", version, error)
            continue
        # The same manifest, so the same images in the same order; file names alone may occur in two datasets.
        if [image["filename"] for image in images] != [image.filename for image in test]:
            continue
        captions = {image.name: said["generated_caption"] for image, said in zip(test, images, strict=True)}
        found[version.name] = Contender(
            captions, {"version": version.number, "run_id": version.run_id, "digest": version.digest, metric: value}
        )
    return found


def captioner(origin: Mapping[str, Any], registry: Registry | None = None) -> Captioner | None:
    """The registered model that the origin of a contender names, to be asked again.

    Returns:
        None, with a warning, where the store does not have it (any more); its captions are known all the same.
    """
    try:
        found = (registry or Registry()).captioner(str(origin["version"]))
        if found.digest() != origin["digest"]:
            raise UserError(f"version {origin['version']} is another model now")
    except (UserError, KeyError) as error:
        log.warning("a rival cannot be asked where it looked (%s)", error)
        return None
    return found
