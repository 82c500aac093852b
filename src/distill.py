"""The baseline's captions of training images, for the recurrent decoder to learn beside people's (sequence-level
knowledge distillation, Kim and Rush 2016)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from src.captioning import Captioning
from src.config import Settings, fingerprint
from src.data.manifest import ImageRecord, Manifest
from src.files import write_json
from src.models.baseline import Baseline
from src.places import Places
from src.processes import Group
from src.training.recovery import held
from src.training.stopping import stop_requests


def distill(settings: Settings, places: Places, resume: Path, group: Group) -> None:
    """Leave captions of a share `train.distill` of the training images; none, without any model, when that is 0.

    Raises:
        UserError: the baseline is missing; an identical run is at work.
        KeyboardInterrupt, Terminated: the run was asked to stop; its state is saved.
    """
    manifest = Manifest.load(places.dataset)
    images = chosen(manifest, settings.train.distill, settings.seed)
    if images:
        baseline = Baseline.load(places, settings.baseline, group.device)
        identity = fingerprint(baseline.digest(), settings.baseline, manifest.digest, settings.train.distill)
        with held(resume, f"distill-{identity}", group) as folder, stop_requests() as stop:
            captioning = Captioning(folder, group)
            captioning.complete(baseline, images, settings.dataset.root, stop)
            if group.is_main:  # while the states are held: they are all there is until the file is whole
                write_json(places.distilled, {image.name: captioning.captions[image.name] for image in images})
    elif group.is_main:
        write_json(places.distilled, {})
    group.barrier()


def chosen(manifest: Manifest, share: float, seed: int) -> list[ImageRecord]:
    """A share of the training images, at random, in the manifest's order; a larger share holds every smaller one's."""
    images = manifest.split("train")
    order = np.random.default_rng(seed).permutation(len(images))
    return [images[index] for index in sorted(order[: round(share * len(images))])]
