"""One recoverable, tracked run: its states are held while it lasts, it goes on from the last one, in the same MLflow
run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from tqdm import tqdm

from src import tracking
from src.config import Settings
from src.processes import Group
from src.training.batches import P
from src.training.resume import ResumeFolder
from src.training.stopping import StopRequest, Watch
from src.training.trainer import Trainer
from src.unfinished import tell_of_others


@contextmanager
def held(root: Path, fingerprint: str, group: Group, keep: bool = False) -> Iterator[ResumeFolder | None]:
    """Hold the states of a run for the block, rank 0's (None elsewhere); when it ends well they are removed,
    unless somebody wants to `keep` them and remove them later. States that runs with other settings left are told of.

    The block goes round the MLflow run: killed before that had ended, the next attempt would begin a second one.

    Raises:
        UserError: an identical run is at work.
    """
    folder = ResumeFolder(root, fingerprint) if group.is_main else None
    try:
        if folder is not None:
            tell_of_others(folder.folder)
        yield folder
        if folder is not None and not keep:
            folder.remove()
    finally:
        if folder is not None:
            folder.close()


def restored(trainer: Trainer[P], folder: ResumeFolder | None, group: Group) -> bool:
    """Become the trainer of the last saved state, on every process; False where there is none."""
    state = group.from_main(folder.load() if folder else None)
    if state is not None:
        trainer.restore(state)
    return state is not None


def tracked(
    kind: str,
    name: str,
    settings: Settings,
    hashes: Mapping[str, str],
    folder: ResumeFolder | None,
    *,
    resume: str,
    curves: Path | None = None,
    tags: Mapping[str, str] | None = None,
) -> AbstractContextManager[tracking.Run]:
    """The MLflow run, gone on with where `resume` is one or a killed attempt has begun one; processes other than the
    first, who have no `folder` of states, record nothing."""
    if folder is None:
        return nullcontext(tracking.Silent())
    return tracking.run(
        kind, name=name, settings=settings, hashes=hashes, tags=tags, resume=resume or None, ticket=folder.ticket,
        curves=curves,
    )  # fmt: skip


def fit(
    trainer: Trainer[P],
    run: tracking.Run,
    folder: ResumeFolder | None,
    stop: StopRequest,
    resumed: bool,
    watch: Watch | None = None,
) -> None:
    """Train to the end, having told whether and where this attempt goes on."""
    trainer.progress.run_id = run.id
    if folder is not None:
        if not resumed:
            trainer.save(folder)  # a crash before the first epoch must find its MLflow run again
        epoch = len(trainer.progress.history)  # events stand in the curves, which count epochs
        for warning in folder.warnings:
            run.event(epoch, warning)
            tqdm.write(f"warning: {warning}")
        if resumed:
            step, steps = trainer.progress.step, trainer.epochs * trainer.steps_per_epoch
            run.event(epoch, f"resumed at step {step} of {steps}")
            tqdm.write(f"resumed at step {step} of {steps}")
    trainer.fit(run, folder, stop, watch)
