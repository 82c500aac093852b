"""BLIP's part of the comparison: a checkpoint, trained on the dataset if that is asked for, captions validation and
test images."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from src import tracking
from src.captioning import Captioning
from src.config import Settings, fingerprint
from src.contenders import BASELINE as NAME
from src.contenders import CAPTIONS_FILE
from src.data.manifest import Manifest
from src.data.tokens import words
from src.data.vocabulary import VOCABULARY_FILE, Vocabulary
from src.files import write_json
from src.metrics.cider import CiderScorer
from src.models.baseline import ABSENT_FILE, MODEL_FOLDER, NONE, TINY, Baseline
from src.places import Places
from src.precision import described
from src.processes import Group
from src.training.blip import BlipLearner, TokenBatch
from src.training.progress import Progress
from src.training.recovery import fit, held, restored, tracked
from src.training.stopping import StopRequest, leave, stop_requests
from src.training.trainer import Trainer

EXAMPLES = 20
PACE = {"batch_images", "workers", "cache_mebibytes", "save_every_steps"}
"""Parameters that change nothing but the pace."""


def caption(settings: Settings, places: Places, resume: Path, group: Group) -> None:
    """Caption the validation and the test split, after training if `baseline.finetune_epochs` says so, and leave
    captions, the model where it has learnt, and the report. With `baseline.checkpoint: none` only that is said.

    Interrupted at any moment and called again with the same settings and inputs, it goes on from the last saved state
    in the same MLflow run. Every process of `group` calls it; rank 0 writes.

    Args:
        resume: folder of unfinished runs' states.

    Raises:
        UserError: the checkpoint cannot be had or used; an input is missing; an identical run is at work.
        KeyboardInterrupt, Terminated: the run was asked to stop; its state is saved.
    """
    manifest = Manifest.load(places.dataset)
    if settings.baseline.checkpoint == NONE:
        if group.is_main:
            shutil.rmtree(places.baseline, ignore_errors=True)  # nothing of a former checkpoint is this one's
            write_json(places.baseline / ABSENT_FILE, "baseline.checkpoint is none")
            write_json(places.baseline_report, {"checkpoint": NONE})
        return
    baseline = _begun(settings, places, group)
    own = settings.baseline
    identity = fingerprint(
        settings.seed,
        settings.prepare.max_words,
        own.model_dump(exclude=PACE),
        manifest.digest,
        baseline.digest(),
        Progress.layout(),
    )
    hashes = {"dataset": manifest.digest}
    trainer = None
    if own.epochs:
        torch.manual_seed(settings.seed)
        learner = BlipLearner(settings, manifest, baseline, group)
        trainer = Trainer(learner, own.training, settings.seed, group)
    with (
        held(resume, f"baseline-{identity}", group) as states,
        held(resume, f"baseline-captions-{identity}", group) as said,
    ):
        resumed = trainer is not None and restored(trainer, states, group)
        captioning = Captioning(said, group)
        former = trainer.progress.run_id if trainer else captioning.run_id
        with (
            stop_requests() as stop,
            tracked("baseline", NAME, settings, hashes, states if trainer else said, resume=former) as run,
        ):
            captioning.run_id = run.id
            if trainer is not None:
                fit(trainer, run, states, stop, resumed)
                trainer.load_best()
                baseline = learner.finish()
            elif not former:
                captioning.save()  # a crash before the first captions must find its MLflow run again
            figures = _summary(trainer) if trainer else {}
            _leave(settings, places, manifest, baseline, figures, captioning, run, stop)
            group.barrier()
            leave(stop, group)


def _begun(settings: Settings, places: Places, group: Group) -> Baseline:
    """The checkpoint; the first process fetches it for all."""
    if settings.baseline.checkpoint == TINY:
        torch.manual_seed(settings.seed)
        return Baseline.tiny(settings.baseline, Vocabulary.load(places.dataset / VOCABULARY_FILE))
    first = Baseline.open(settings.baseline) if group.is_main else None
    group.barrier()
    return first or Baseline.open(settings.baseline)


def _leave(
    settings: Settings,
    places: Places,
    manifest: Manifest,
    baseline: Baseline,
    figures: Mapping[str, float],
    captioning: Captioning,
    run: tracking.Run,
    stop: StopRequest,
) -> None:
    group, digest = captioning.group, baseline.digest()
    if group.is_main:
        places.baseline.mkdir(parents=True, exist_ok=True)
        (places.baseline / ABSENT_FILE).unlink(missing_ok=True)
        shutil.rmtree(places.baseline / MODEL_FOLDER, ignore_errors=True)
        if figures:
            baseline.save(places.baseline / MODEL_FOLDER)
    images = [image for image in manifest.images if image.split != "train"]
    baseline.ready(group.device)
    if group.is_main:
        tqdm.write(f"captions: {described(settings.baseline.precision, group.device)}")
    # Validation images are captioned greedily, as the recurrent models' are: the two figures are held together.
    greedy = replace(baseline, settings=baseline.settings.model_copy(update={"beam_size": 1}))
    captioning.complete(greedy, manifest.split("val"), settings.dataset.root, stop)
    captioning.complete(baseline, manifest.split("test"), settings.dataset.root, stop)
    if not group.is_main:
        return
    captions = {
        split: {image.name: captioning.captions[image.name] for image in manifest.split(split)}
        for split in ("val", "test")
    }
    write_json(places.baseline / CAPTIONS_FILE, captions)
    val = manifest.split("val")
    spoken = [words(captions["val"][image.name]) for image in val]
    cider = float(CiderScorer([image.words for image in val]).score(spoken).mean()) if val else 0.0
    pace = len(images) / captioning.seconds if captioning.seconds else 0.0
    report: dict[str, Any] = {
        "model": NAME,
        "checkpoint": settings.baseline.checkpoint,
        "architecture": baseline.architecture,
        "finetuned_on": settings.dataset.name if figures else None,
        "finetune_epochs": settings.baseline.epochs,
        "lora_rank": settings.baseline.lora_rank,
        "digest": digest,
        "identity": fingerprint(digest, *baseline.settings.speech),
        "run_id": run.id,
        "val_CIDEr": cider,
        "parameters": baseline.parameters,
        "images_per_second": pace,
        **figures,
    }
    # Curves of training have the names that figures would have.
    run.summary(
        {"captions_val_CIDEr": cider, "caption_images_per_second": pace, "weights": baseline.parameters, **figures}
    )
    run.tag("checkpoint", settings.baseline.checkpoint)
    run.tag("finetuned_on", report["finetuned_on"] or "nothing")
    run.tag("digest", digest)
    write_json(places.baseline_report, report)
    run.artifact(places.baseline_report, "baseline")
    run.artifact(places.baseline / CAPTIONS_FILE, "baseline")
    run.table(
        [
            {"image": image.name, NAME: captions["val"][image.name], "people": image.captions[0]}
            for image in val[:EXAMPLES]
        ],
        "examples.json",
    )


def _summary(trainer: Trainer[TokenBatch]) -> dict[str, float]:
    progress = trainer.progress
    return {
        "greedy_val_CIDEr": progress.best_cider,
        "best_epoch": progress.best_epoch,
        "trained_epochs": len(progress.history),
        "train_seconds": sum(row["seconds"] for row in progress.history),
    }
