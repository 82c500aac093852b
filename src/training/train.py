"""From prepared data and cached grids to a captioner bundle: one recoverable, tracked run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from src import tracking
from src.config import Settings, fingerprint
from src.data import distilled
from src.data.manifest import Manifest
from src.data.vocabulary import VOCABULARY_FILE, Vocabulary
from src.decoding.images import describe_images
from src.encoders import loading as encoders
from src.encoders.cache import Embeddings
from src.encoders.encoder import Encoder
from src.errors import UserError
from src.files import write_json
from src.models.captioner import Captioner
from src.models.decoder import Decoder, DecoderConfig
from src.models.ensemble import Ensemble
from src.places import Places
from src.processes import Group
from src.training.batches import Batch
from src.training.expected import expect
from src.training.progress import Progress
from src.training.recovery import fit, held, restored, tracked
from src.training.recurrent import RecurrentLearner
from src.training.stopping import leave, stop_requests
from src.training.trainer import Trainer

EXAMPLES = 20


class Watcher(Protocol):
    """Somebody who trains to learn how good `settings` are, not for the model: a search."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Of the MLflow run; they replace those of an ordinary one."""

    def begin(self, run: tracking.Run) -> None:
        """The run that was begun, or is gone on with."""

    def epoch(self, number: int, row: Mapping[str, float]) -> bool:
        """Told each validated epoch, those before a restart too; True ends the run there."""


def train(settings: Settings, places: Places, resume: Path, group: Group, watcher: Watcher | None = None) -> float:
    """Train the decoder of `settings` and leave its bundle, its report and its curves.

    Interrupted at any moment and called again with the same settings and inputs, it goes on from the last saved state
    in the same MLflow run. Every process of `group` calls it; rank 0 writes.

    Args:
        resume: folder of unfinished runs' states.
        watcher: rank 0's; None elsewhere. With one there is no bundle, no report and no file of curves, and the last
            state stays: it is the watcher's to remove when it has taken down how the run ended.

    Returns:
        the best epoch's validation CIDEr.

    Raises:
        Pruned: the watcher has seen enough.
        UserError: inputs are missing or do not fit one another; an identical run is at work.
        KeyboardInterrupt, Terminated: the run was asked to stop; its state is saved.
    """
    manifest = Manifest.load(places.dataset)
    taught = taught_captions(manifest, settings, places)
    vocabulary = Vocabulary.load(places.dataset / VOCABULARY_FILE)
    embeddings = Embeddings.open(places.embeddings, manifest, settings.embed)
    weights = embeddings.weights()  # of no use before the end, where it would be late to miss them
    identity = fingerprint(
        settings.seed,
        settings.prepare.max_words,
        settings.decode.max_words,
        settings.model,
        settings.train.model_dump(exclude={"restarts"}),
        taught.digest,
        vocabulary.words,
        embeddings.digest,
        Progress.layout(),
    )
    torch.manual_seed(settings.seed)
    learner = RecurrentLearner(
        settings,
        taught,
        vocabulary,
        embeddings.grids,
        _decoder(settings, vocabulary, embeddings),
        group,
        encoder=_encoder(settings, embeddings) if settings.train.finetune_encoder else None,
        data_root=settings.dataset.root,
        written=manifest,
    )
    trainer = Trainer(learner, settings.train, settings.seed, group)
    hashes = {"dataset": manifest.digest, "embeddings": embeddings.digest}
    name = settings.model.rnn.upper()
    with held(resume, f"train-{identity}", group, keep=watcher is not None) as folder:
        resumed = restored(trainer, folder, group)
        former = trainer.progress.run_id
        curves, tags = (None, watcher.tags) if watcher else (places.curves, None)
        with (
            stop_requests() as stop,
            tracked("train", name, settings, hashes, folder, resume=former, curves=curves, tags=tags) as run,
        ):
            if watcher is not None:
                watcher.begin(run)
            fit(trainer, run, folder, stop, resumed, watcher.epoch if watcher else None)
            trainer.load_best()
            speaker, cider = learner.finish(), trainer.progress.best_cider
            if isinstance(speaker, Ensemble):
                cider = learner.ensemble_cider(speaker)
            figures = _summarise(trainer, cider, run)
            if group.is_main and watcher is None:
                captioner = _captioner(learner, speaker, trainer, settings, embeddings, hashes | {"val_CIDEr": cider})
                if not captioner.tuned:
                    captioner.expectation = expect(manifest, vocabulary, embeddings, settings).to(group.device)
                captioner.save(places.model, None if captioner.encoder else weights)
                run.artifact(places.model, "model")
                facts = {"model": captioner.name, "digest": captioner.digest(), "run_id": run.id}
                write_json(places.training, {**facts, **figures})
                run.table(_examples(captioner, manifest, embeddings, settings), "examples.json")
            group.barrier()
            if not group.from_main(watcher is not None):  # asked of all alike: a watcher is rank 0's alone
                leave(stop, group)  # the launcher may tell that it was asked to stop: nothing of it is removed then
    return cider


def taught_captions(manifest: Manifest, settings: Settings, places: Places) -> Manifest:
    """What a decoder is taught: people's captions, and the baseline's where `train.distill` asks for them."""
    return distilled.joined(manifest, distilled.read(places.distilled)) if settings.train.distill else manifest


def _decoder(settings: Settings, vocabulary: Vocabulary, embeddings: Embeddings) -> Decoder:
    shape = embeddings.provenance
    return Decoder(
        DecoderConfig(
            vocab_size=len(vocabulary),
            feature_size=shape.features,
            rows=shape.rows,
            columns=shape.columns,
            **settings.model.model_dump(),
        )
    )


def _encoder(settings: Settings, embeddings: Embeddings) -> Encoder:
    encoder = encoders.load(settings.embed, settings.seed)
    if difference := encoder.provenance.difference(embeddings.provenance):
        raise UserError(f"the encoder that is to learn did not make {embeddings.folder} ({difference})")
    return encoder


def _captioner(
    learner: RecurrentLearner,
    speaker: Decoder | Ensemble,
    trainer: Trainer[Batch],
    settings: Settings,
    embeddings: Embeddings,
    origin: Mapping[str, Any],
) -> Captioner:
    """The best epoch. Its encoder comes with it when it has learnt; otherwise the cache's weights are its."""
    tuned = learner.encoder if any(name.startswith("encoder.") for name in trainer.best) else None
    origin = {
        **origin,
        "encoder_tuned": tuned is not None,
        "parameters": settings.flat(),
    }
    provenance = tuned.provenance if tuned else embeddings.provenance
    return Captioner(speaker, learner.vocabulary, provenance, settings.decode, origin, tuned)


def _summarise(trainer: Trainer[Batch], cider: float, run: tracking.Run) -> dict[str, float]:
    """The final figures, told to the run: of several decoders the means, but for `cider`, which is what they reach
    together."""
    progress = trainer.progress
    rows = [progress.history[epoch - 1] for epoch in (*progress.members, progress.best_epoch)]
    best = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0] if all(name in row for row in rows)}
    learnt = "train_loss" if "train_loss" in best else "train_reward"
    figures = {
        "val_CIDEr": cider,
        **({"mean_member_val_CIDEr": best["val_CIDEr"]} if len(rows) > 1 else {}),
        "val_loss": best["val_loss"],
        **({learnt: best[learnt]} if learnt in best else {}),
        "best_epoch": progress.best_epoch,
        "epochs": len(progress.history),
        "train_seconds": sum(row["seconds"] for row in progress.history),
        "mean_captions_per_second": sum(row["captions_per_second"] for row in progress.history) / len(progress.history),
    }
    run.summary({name if name not in best else f"best_{name}": value for name, value in figures.items()})
    return figures


def _examples(
    captioner: Captioner, manifest: Manifest, embeddings: Embeddings, settings: Settings
) -> list[dict[str, object]]:
    """Captions of the first validation images, beside what people wrote."""
    rows = manifest.rows("val")[:EXAMPLES]
    with torch.inference_mode():
        captions = list(describe_images(captioner, embeddings, manifest, rows, settings))
    return [
        {
            "image": manifest.images[row].name,
            captioner.name: found[0].sentence,
            "people": manifest.images[row].captions[0],
        }
        for row, found in zip(rows, captions, strict=True)
    ]
