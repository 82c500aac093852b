"""The training loop.

A run is a chain of optimiser steps, each a function of the parameters before it and of (seed, step, rank) alone: the
order of the batches and the numbers that dropout draws are derived, not remembered. A state saved after any step
therefore goes on to the same weights, bit by bit, as a run that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from src.config import Decode, Settings
from src.data.manifest import Manifest
from src.data.vocabulary import Vocabulary
from src.decoding.describe import describe
from src.errors import UserError
from src.metrics.cider import CiderScorer
from src.models.decoder import Decoder
from src.processes import Group
from src.tracking import Run
from src.training.batches import Batch, CaptionedImages, GridReader, read_ahead
from src.training.objectives import TeacherForcing
from src.training.resources import ResourceMonitor
from src.training.resume import ResumeFolder, SavedState
from src.training.schedule import learning_rate_factor
from src.training.stopping import StopRequest

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Progress:
    """Where a run stands: all of it is saved with a state, as JSON.

    Attributes:
        step: optimiser steps done; `step % steps per epoch` is the position in the epoch.
        words, loss, norms: sums over the steps of the epoch under way: target words, nats, gradient norms.
        history: one row per finished epoch.
    """

    step: int = 0
    words: float = 0.0
    loss: float = 0.0
    norms: float = 0.0
    best_epoch: int = 0
    best_cider: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)
    run_id: str = ""


class Trainer:
    """Trains one decoder on cached grids; validation CIDEr chooses its best epoch."""

    def __init__(
        self,
        settings: Settings,
        manifest: Manifest,
        vocabulary: Vocabulary,
        grids: Float16[np.ndarray, "row region feature"],
        decoder: Decoder,
        group: Group,
    ) -> None:
        self.settings, self.vocabulary, self.grids, self.group = settings, vocabulary, grids, group
        train = settings.train
        if train.precision == "fp16" and group.device.type != "cuda":
            raise UserError("train.precision is fp16, which needs a GPU: use bf16 or fp32 on this machine")
        self.images = CaptionedImages(
            manifest.split("train"), manifest.rows("train"), vocabulary, settings.prepare.max_words
        )
        self.validation = CaptionedImages(
            manifest.split("val"), manifest.rows("val"), vocabulary, settings.prepare.max_words
        )
        if not len(self.images) or not len(self.validation):
            raise UserError(f"the dataset has {len(self.images)} training and {len(self.validation)} validation images")
        self.references = CiderScorer([image.words for image in manifest.split("val")])
        self.decoder = decoder.to(group.device)
        self.teaching = TeacherForcing(self.decoder, train.label_smoothing, coverage=train.attention_penalty > 0)
        self.objective: nn.Module = self.teaching
        if group.size > 1:
            self.objective = DistributedDataParallel(self.teaching)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.decoder, train.weight_decay), lr=train.learning_rate, fused=True
        )
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=train.precision == "fp16")
        self.steps_per_epoch = len(self.images.order(0, train.batch_images, settings.seed))
        self.steps = self.steps_per_epoch * train.epochs
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}

    # What a run does ------------------------------------------------------------------------------------------------

    def fit(self, run: Run, folder: ResumeFolder | None, stop: StopRequest) -> None:
        """Train from where `progress` stands to the last epoch, saving states to `folder` (rank 0's; None elsewhere).

        Raises:
            KeyboardInterrupt, Terminated: the run was asked to stop; its state is saved.
        """
        history = self.progress.history
        for epoch, row in enumerate(history, start=1):
            run.log(epoch, row)
        with ResourceMonitor() as monitor:
            while len(history) < self.settings.train.epochs:
                epoch = len(history)  # not of the steps: stopped after its last one, an epoch is still to be validated
                monitor.snapshot()  # what went before is no part of the epoch
                row = {**self._epoch(epoch, folder, stop, monitor), **monitor.snapshot(), **self._validate()}
                self._close_epoch(epoch + 1, row)
                # On disk first: after a crash between the two the next attempt logs the epoch, and nothing twice.
                self.save(folder)
                run.log(epoch + 1, row)
                if self.group.is_main:
                    best = self.progress.best_epoch == epoch + 1
                    tqdm.write(_line(epoch + 1, self.settings.train.epochs, row, best))

    def _epoch(
        self, epoch: int, folder: ResumeFolder | None, stop: StopRequest, monitor: ResourceMonitor
    ) -> dict[str, float]:
        train, group, progress = self.settings.train, self.group, self.progress
        self.teaching.train()
        order = self.images.order(epoch, train.batch_images, self.settings.seed)
        begin = progress.step - epoch * self.steps_per_epoch
        mine = [chosen[group.rank :: group.size] for chosen in order[begin:]]
        bar = tqdm(
            total=len(order),
            initial=begin,
            desc=f"epoch {epoch + 1}/{train.epochs}",
            unit="batch",
            leave=False,
            disable=not group.is_main,
        )
        batches = read_ahead(self.images, mine, GridReader(self.grids), group.device)
        with bar:
            for chosen, batch in zip(order[begin:], monitor.timed(batches), strict=True):
                words, captions = self.images.count(chosen)
                own_loss, norm = self.step(batch, words, captions)
                # One exchange tells every process the whole loss and whether any of them was asked to stop.
                loss, stopping = group.sum(own_loss, bool(stop))
                if not np.isfinite(loss):
                    raise UserError(
                        f"the loss is {loss} at step {progress.step}: lower train.learning_rate or train.clip_norm, "
                        "or use train.precision=fp32"
                    )
                progress.step += 1
                progress.words += words
                progress.loss += loss
                progress.norms += norm
                monitor.count(images=len(chosen), captions=captions)
                bar.update()
                if stopping:
                    self.save(folder)
                    raise stop.grant()
                if progress.step % train.save_every_steps == 0 and progress.step % self.steps_per_epoch:
                    self.save(folder)
        return {
            "train_loss": progress.loss / progress.words,
            "gradient_norm": progress.norms / len(order),
            "learning_rate": self._learning_rate(progress.step - 1),
        }

    def step(self, batch: Batch, words: int, captions: int) -> tuple[float, float]:
        """One optimiser step over a batch shared by all processes. Returns this process' summed loss in nats, and the
        norm of the whole gradient."""
        train, group = self.settings.train, self.group
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = self._learning_rate(self.progress.step)
        torch.manual_seed(_mix(self.settings.seed, self.progress.step, group.rank))
        with self._autocast():
            losses = self.objective(batch)
            loss = losses.nats / words + train.attention_penalty * losses.coverage / captions
        # DistributedDataParallel averages over processes; words and captions are counted over all of them.
        self.scaler.scale(loss * group.size).backward()
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.decoder.parameters(), train.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        return float(losses.nats.detach()), float(norm)

    def _learning_rate(self, step: int) -> float:
        train = self.settings.train
        return train.learning_rate * learning_rate_factor(
            step, self.steps, train.warmup_steps, train.final_learning_rate
        )

    def _validate(self) -> dict[str, float]:
        """Loss and greedy CIDEr on the validation split, each image counted once by one process."""
        self.teaching.eval()
        group, rank = self.group, self.group.rank
        own = np.arange(len(self.validation))[rank :: group.size]
        nats, captions = 0.0, list[tuple[str, ...]]()
        search = Decode(
            beam_size=1, max_words=self.settings.decode.max_words, batch_images=self.settings.decode.batch_images
        )
        with torch.inference_mode(), self._autocast():
            order = [own[start : start + search.batch_images] for start in range(0, len(own), search.batch_images)]
            for batch in read_ahead(self.validation, order, GridReader(self.grids), group.device):
                assert batch.grids is not None
                nats += float(self.teaching(batch).nats)
                found = describe(self.decoder, self.vocabulary, batch.grids, search)
                captions += [hypotheses[0].words for hypotheses in found]
            words = self.validation.count(own)[0]
        total_nats, total_words = group.sum(nats, words)
        return {"val_loss": total_nats / total_words, "val_CIDEr": self._cider(captions)}

    def _cider(self, own: Sequence[Sequence[str]]) -> float:
        parts = self.group.gather(own)
        captions: list[Sequence[str]] = [()] * len(self.validation)
        for rank, part in enumerate(parts):
            captions[rank :: self.group.size] = part
        return self.group.from_main(float(self.references.score(captions).mean()) if self.group.is_main else 0.0)

    def _close_epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        progress = self.progress
        progress.words = progress.loss = progress.norms = 0.0
        progress.history.append(dict(row))
        if row["val_CIDEr"] > progress.best_cider:
            progress.best_epoch, progress.best_cider = epoch, row["val_CIDEr"]
            self.best = {name: value.detach().cpu().clone() for name, value in self.decoder.state_dict().items()}

    def _autocast(self) -> torch.autocast:
        precision = self.settings.train.precision
        return torch.autocast(self.group.device.type, dtype=AUTOCAST.get(precision), enabled=precision != "fp32")

    # What survives --------------------------------------------------------------------------------------------------

    def save(self, folder: ResumeFolder | None) -> None:
        if folder is not None:
            folder.save(self.progress.step, self.state())

    def state(self) -> SavedState:
        """Everything the next step depends on."""
        tensors = {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        return SavedState(tensors, {"progress": vars(self.progress), "scaler": self.scaler.state_dict()})

    def restore(self, state: SavedState) -> None:
        """Become the trainer that saved `state`; the learning rate stays that of the settings."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) :]: value for name, value in state.tensors.items() if name.startswith(prefix)}

        self.decoder.load_state_dict(under("decoder."))
        self.best = under("best.")
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimiser.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self.scaler.load_state_dict(state.facts["scaler"])
        self.progress = Progress(**state.facts["progress"])


def parameter_groups(decoder: Decoder, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms, positions and embeddings do not."""
    decayed = [module.weight for module in decoder.modules() if isinstance(module, nn.Linear)]
    known = {id(parameter) for parameter in decayed}
    rest = [parameter for parameter in decoder.parameters() if id(parameter) not in known]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def _line(epoch: int, epochs: int, row: Mapping[str, float], best: bool) -> str:
    return (
        f"epoch {epoch:3d}/{epochs}  loss {row['train_loss']:.3f}  val loss {row['val_loss']:.3f}  "
        f"val CIDEr {row['val_CIDEr']:.3f}{' *' if best else '  '}  {row['captions_per_second']:,.0f} captions/s"
    )
