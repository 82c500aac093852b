"""The training loop.

A run is a chain of optimiser steps, each a function of the parameters before it and of (seed, step, rank) alone: the
order of the batches and the numbers that dropout draws are derived, not remembered. A state saved after any step
therefore goes on to the same weights, bit by bit, as a run that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, Int
from torch import Tensor, nn
from tqdm import tqdm

from src.config import Settings
from src.data.manifest import Manifest
from src.data.vocabulary import Vocabulary
from src.encoders.encoder import Encoder
from src.errors import UserError
from src.models.decoder import Decoder
from src.processes import Group
from src.tracking import Run
from src.training.adaptation import Controller
from src.training.batches import Batch, CaptionedImages, GridReader, Reader, read_ahead
from src.training.gradients import MovingAverage, add_up, parameter_groups
from src.training.objectives import TeacherForcing
from src.training.pixels import PixelReader
from src.training.progress import Progress
from src.training.resources import ResourceMonitor
from src.training.resume import ResumeFolder, SavedState
from src.training.schedule import learning_rate_factor
from src.training.stopping import StopRequest, Watch, heed
from src.training.validation import Validation


class Trainer:
    """Trains one decoder on cached grids, then, if asked to, its encoder with it; validation CIDEr chooses the best
    epoch.

    Args:
        encoder: the one that made the grids; needed for `train.finetune_encoder` alone.
        data_root: where its pictures lie.
    """

    def __init__(
        self,
        settings: Settings,
        manifest: Manifest,
        vocabulary: Vocabulary,
        grids: Float16[np.ndarray, "row region feature"],
        decoder: Decoder,
        group: Group,
        encoder: Encoder | None = None,
        data_root: Path = Path("data"),
    ) -> None:
        self.settings, self.vocabulary, self.group = settings, vocabulary, group
        train = settings.train
        if train.precision == "fp16" and group.device.type != "cuda":
            raise UserError("train.precision is fp16, which needs a GPU: use bf16 or fp32 on this machine")
        self.images = CaptionedImages(
            manifest.split("train"), manifest.rows("train"), vocabulary, settings.prepare.max_words
        )
        self.validation = Validation(settings, manifest, vocabulary, group)
        found = len(self.images), len(self.validation.images)
        if not all(found):
            raise UserError(f"the dataset has {found[0]} training and {found[1]} validation images")
        self.decoder, self.encoder = decoder.to(group.device), encoder
        self.teaching = TeacherForcing(
            decoder,
            train.label_smoothing,
            coverage=train.attention_penalty > 0,
            checkpointing=train.gradient_checkpointing,
            encoder=encoder,
            precision=train.precision,
        )
        groups = parameter_groups(decoder, train.weight_decay)
        self.read: Reader = GridReader(grids)
        self.read_pixels: Reader | None = None
        if encoder is not None:
            encoder.to(group.device)
            self.read_pixels = PixelReader(encoder, manifest, data_root, settings.embed.workers)
            groups.append({"params": encoder.learnable(), "weight_decay": 0.0})
        self.optimiser = torch.optim.AdamW(groups, lr=train.learning_rate, fused=True)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=train.precision == "fp16")
        decay = train.adapt.ema_decay
        self.average = MovingAverage(decoder.parameters(), decay) if decay else None
        self.steps_per_epoch = len(self.images.order(0, train.batch_images, settings.seed))
        self.steps = self.steps_per_epoch * train.epochs
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}

    # What a run does ------------------------------------------------------------------------------------------------

    def fit(self, run: Run, folder: ResumeFolder | None, stop: StopRequest, watch: Watch | None = None) -> None:
        """Train from where `progress` stands to the end, saving states to `folder` (rank 0's; None elsewhere).

        Raises:
            Pruned: `watch`, asked on rank 0 alone, has seen enough; the state is saved.
            KeyboardInterrupt, Terminated: the run was asked to stop; its state is saved.
            UserError: the loss is no number, or one image is too much for the GPU's memory.
        """
        progress = self.progress
        for epoch, row in enumerate(progress.history, start=1):
            run.log(epoch, row)
            heed(watch, self.group, epoch, row)
        for epoch, text in progress.events:
            run.event(epoch, text)
        with ResourceMonitor() as monitor:
            while (epoch := self._next_epoch(run)) >= 0:
                monitor.snapshot()  # what went before is no part of the epoch
                row = {**self._epoch(epoch, folder, stop, monitor, run), **monitor.snapshot(), **self._validate()}
                decisions = self._close_epoch(epoch + 1, row)
                # On disk first: after a crash between the two the next attempt logs the epoch, and nothing twice.
                self.save(folder)
                run.log(epoch + 1, row)
                for text in decisions:
                    run.event(epoch + 1, text)
                if self.group.is_main:
                    tqdm.write(_line(epoch + 1, row, progress.best_epoch == epoch + 1))
                    for text in decisions:
                        tqdm.write(f"           {text}")
                heed(watch, self.group, epoch + 1, row)

    def _next_epoch(self, run: Run) -> int:
        """The epoch to do, -1 when all is done. Lets the encoder learn when the decoder has learnt."""
        progress, train = self.progress, self.settings.train
        # Not of the steps: stopped after its last one, an epoch is still to be validated.
        epoch = len(progress.history)
        if progress.finetune_from is None and (epoch >= train.epochs or progress.controller.stopped):
            if not train.finetune_encoder:
                return -1
            self._load(self.best)
            progress.finetune_from = epoch
            if self.average is not None:
                self.average.restart()
            # A new memory: with the encoder's part gradients are longer, and rates and shares begin anew.
            progress.controller = Controller(best=progress.best_cider)
            self._tell(run, epoch, "the encoder learns from here on, from the images themselves")
        if progress.finetune_from is not None:
            if self.encoder is None:
                raise UserError("train.finetune_encoder needs the encoder: it was not given to the trainer")
            if epoch >= progress.finetune_from + train.finetune_encoder or progress.controller.stopped:
                return -1
            self.encoder.learn(checkpointing=train.gradient_checkpointing)
        return epoch

    @property
    def epochs(self) -> int:
        """How many there will be, unless the controller stops before."""
        started, train = self.progress.finetune_from, self.settings.train
        return (train.epochs if started is None else started) + train.finetune_encoder

    @property
    def reader(self) -> Reader:
        """Grids, or pixels while the encoder learns."""
        if self.progress.finetune_from is None:
            return self.read
        assert self.read_pixels is not None
        return self.read_pixels

    def _epoch(
        self, epoch: int, folder: ResumeFolder | None, stop: StopRequest, monitor: ResourceMonitor, run: Run
    ) -> dict[str, float]:
        train, group, progress = self.settings.train, self.group, self.progress
        self.teaching.train()
        order = self.images.order(epoch, train.batch_images, self.settings.seed)
        begin = progress.step - epoch * self.steps_per_epoch
        own = [chosen[group.rank :: group.size] for chosen in order[begin:]]
        bar = tqdm(
            total=len(order),
            initial=begin,
            desc=f"epoch {epoch + 1}/{self.epochs}",
            unit="batch",
            leave=False,
            disable=not group.is_main,
        )
        batches = read_ahead(self.images, own, self.reader, group.device)
        with bar:
            for chosen, mine, batch in zip(order[begin:], own, monitor.timed(batches), strict=True):
                words, captions = self.images.count(chosen)
                own_loss, norm = self.step(batch, mine, words, captions, run)
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
            "learning_rate": self._learning_rates(progress.step - 1)[0],
        }

    def step(
        self, batch: Batch, mine: Int[np.ndarray, " image"], words: int, captions: int, run: Run
    ) -> tuple[float, float]:
        """One optimiser step.

        Args:
            batch, mine: this process' share of the images, packed, and their positions in the training split.
            words, captions: of all processes' shares.

        Returns:
            this process' summed loss in nats, and the norm of the whole gradient before clipping.
        """
        train, progress = self.settings.train, self.progress
        rates = self._learning_rates(progress.step)
        for parameters, rate in zip(self.optimiser.param_groups, rates, strict=True):
            parameters["lr"] = rate
        while True:
            try:
                nats = self._backward(batch, mine, words, captions)
                break
            except torch.OutOfMemoryError as error:
                self._halve(len(mine), run, error)
        add_up(self._learning(), self.group)
        self.scaler.unscale_(self.optimiser)
        norm = float(nn.utils.clip_grad_norm_(self._learning(), train.clip_norm))
        # A norm that is no number is the scaler's business; where there is no scaler the loss will say so.
        if not np.isfinite(norm) or progress.controller.accepts(norm, train.adapt):
            self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(progress.step + 1)
        return nats, norm

    def _backward(self, batch: Batch, mine: Int[np.ndarray, " image"], words: int, captions: int) -> float:
        """Gradients of this process' share, micro-batch by micro-batch. Sums over the batch divided by the counts of
        the whole one: they add up to the same gradient however the images are divided."""
        train, progress = self.settings.train, self.progress
        self.optimiser.zero_grad(set_to_none=True)
        torch.manual_seed(_mix(self.settings.seed, progress.step, self.group.rank))
        nats = 0.0
        for part in self._micro_batches(batch, mine):
            losses = self.teaching(part, progress.controller.sampling)
            loss = losses.nats / words + train.attention_penalty * losses.coverage / captions
            self.scaler.scale(loss).backward()
            nats += float(losses.nats.detach())
        return nats

    def _micro_batches(self, batch: Batch, mine: Int[np.ndarray, " image"]) -> Iterator[Batch]:
        size = self.progress.micro_batch or self.settings.train.micro_batch_images or len(mine)
        if size >= len(mine):
            if len(mine):
                yield batch
            return
        assert batch.grids is not None
        for start in range(0, len(mine), size):
            part = self.images.pack(mine[start : start + size]).to(self.group.device)
            yield part.with_grids(batch.grids[start : start + size])

    def _halve(self, images: int, run: Run, error: torch.OutOfMemoryError) -> None:
        size = min(images, self.progress.micro_batch or self.settings.train.micro_batch_images or images)
        if size == 1:
            raise UserError(
                "one image is too much for the GPU's memory: use train.gradient_checkpointing=true, "
                "train.precision=bf16 or a smaller model"
            ) from error
        self.optimiser.zero_grad(set_to_none=True)
        if self.group.device.type == "cuda":
            torch.cuda.empty_cache()
        self.progress.micro_batch = (size + 1) // 2
        text = f"GPU memory ran out: {self.progress.micro_batch} images at once instead of {size}, in the same batch"
        self._tell(run, len(self.progress.history), text)
        if not self.group.is_main:  # it speaks for all, but knows its own memory alone
            tqdm.write(f"           process {self.group.rank}: {text}")

    def _tell(self, run: Run, epoch: int, text: str) -> None:
        """An incident between two epochs: kept with the state, in the log, and shown."""
        self.progress.events.append((epoch, text))
        run.event(epoch, text)
        if self.group.is_main:
            tqdm.write(f"           {text}")

    def _learning(self) -> list[nn.Parameter]:
        groups = self.optimiser.param_groups
        return [parameter for group in groups for parameter in group["params"] if parameter.requires_grad]

    def _learning_rates(self, step: int) -> list[float]:
        """Of the decoder's matrices, its other parameters and, where there is one, the encoder."""
        train = self.settings.train
        if self.progress.finetune_from is None:
            factor = learning_rate_factor(step, self.steps, train.warmup_steps, train.final_learning_rate)
        else:
            factor = train.final_learning_rate
        decoder = train.learning_rate * factor * self.progress.controller.rate
        encoder = train.encoder_learning_rate * self.progress.controller.rate
        return [decoder, decoder, encoder][: len(self.optimiser.param_groups)]

    def _validate(self) -> dict[str, float]:
        latest = self.validation.measure(self.teaching, self.reader)
        if self.average is None:
            return latest
        self.average.swap()
        averaged = self.validation.measure(self.teaching, self.reader)
        self.average.swap()
        better = max(latest, averaged, key=lambda figures: figures["val_CIDEr"])
        return {**better, "val_CIDEr_latest": latest["val_CIDEr"], "val_CIDEr_average": averaged["val_CIDEr"]}

    def _close_epoch(self, epoch: int, row: Mapping[str, float]) -> list[str]:
        """Take in a finished epoch. Returns what the controller decided."""
        progress = self.progress
        progress.words = progress.loss = progress.norms = 0.0
        progress.history.append(dict(row))
        if row["val_CIDEr"] > progress.best_cider:
            progress.best_epoch, progress.best_cider = epoch, row["val_CIDEr"]
            averaged = self.average is not None and row["val_CIDEr_average"] > row["val_CIDEr_latest"]
            if averaged and self.average:
                self.average.swap()
            self.best = {name: value.detach().cpu().clone() for name, value in self._weights().items()}
            if averaged and self.average:
                self.average.swap()
        decisions = progress.controller.after_epoch(row, self.settings.train.adapt)
        progress.events += [(epoch, text) for text in decisions]
        return decisions

    # What survives --------------------------------------------------------------------------------------------------

    def _weights(self) -> dict[str, Tensor]:
        """Of everything that has learnt."""
        weights = {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}
        if self.encoder is not None and self.progress.finetune_from is not None:
            weights |= {f"encoder.{name}": value for name, value in self.encoder.used_state().items()}
        return weights

    def _load(self, weights: Mapping[str, Tensor]) -> None:
        self.decoder.load_state_dict(_under("decoder.", weights))
        if self.encoder is not None and (tuned := _under("encoder.", weights)):
            self.encoder.load_used_state(tuned, "the saved state")

    def load_best(self) -> None:
        """Become the best epoch."""
        self._load(self.best)

    def save(self, folder: ResumeFolder | None) -> None:
        if folder is not None:
            folder.save(self.progress.step, self.state())

    def state(self) -> SavedState:
        """Everything the next step depends on."""
        tensors = self._weights() | {f"best.{name}": value for name, value in self.best.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        if self.average is not None:
            tensors |= {f"average.{index}": value for index, value in enumerate(self.average.values)}
        return SavedState(tensors, {"progress": asdict(self.progress), "scaler": self.scaler.state_dict()})

    def restore(self, state: SavedState) -> None:
        """Become the trainer that saved `state`; the learning rate stays that of the settings."""
        self.progress = Progress.from_json(state.facts["progress"])
        self._load(state.tensors)
        self.best = _under("best.", state.tensors)
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimiser.", state.tensors).items():
            index, key = name.split(".", 1)
            parameter = parameters[int(index)]
            if value.shape == parameter.shape:
                # In the parameter's own layout (a CNN's is channels last): the fused step goes by position in memory.
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            moments.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        if self.average is not None:
            for index, value in _under("average.", state.tensors).items():
                self.average.values[int(index)].copy_(value)
        self.scaler.load_state_dict(state.facts["scaler"])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def _line(epoch: int, row: Mapping[str, float], best: bool) -> str:
    return (
        f"epoch {epoch:3d}  loss {row['train_loss']:.3f}  val loss {row['val_loss']:.3f}  "
        f"val CIDEr {row['val_CIDEr']:.3f}{' *' if best else '  '}  {row['captions_per_second']:,.0f} captions/s"
    )
