"""The training loop.

A run is a chain of optimiser steps, each a function of the parameters before it and of (seed, step, rank) alone: the
order of the batches and the numbers that dropout draws are derived, not remembered. A state saved after any step
therefore goes on to the same weights, bit by bit, as a run that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Generic

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn
from tqdm import tqdm

from src.config import Train
from src.errors import Untrainable, UserError
from src.heap import keep_freed_memory
from src.precision import described, refuse_without_gpu
from src.processes import Group
from src.tracking import EPOCHS_TAG, Run
from src.training.adaptation import MOST_BROKEN, Controller
from src.training.batches import Batch, P, read_ahead
from src.training.gradients import MovingAverage, add_up, under
from src.training.graphs import StepGraphs
from src.training.learner import SELF_CRITICAL, TEACHING, WITH_ENCODER, Learner, Losses, Phase
from src.training.progress import Progress
from src.training.resources import ResourceMonitor
from src.training.resume import ResumeFolder, SavedState
from src.training.schedule import learning_rate_factor
from src.training.stopping import StopRequest, Watch, heed, leave

RATES = {WITH_ENCODER: "encoder_learning_rate", SELF_CRITICAL: "self_critical_learning_rate"}
"""The parameter of a phase's learning rate, where it is not the ordinary one."""


class Trainer(Generic[P]):
    """Trains one learner; validation CIDEr chooses the best epoch."""

    def __init__(self, learner: Learner[P], train: Train, seed: int, group: Group) -> None:
        self.learner, self.train, self.seed, self.group = learner, train, seed, group
        refuse_without_gpu(train.precision, group.device, learner.section)
        keep_freed_memory()
        if group.size > 1:  # what each draws for itself depends on its processor, and on how many threads it has
            learner.load(group.from_main({name: value.cpu() for name, value in learner.weights().items()}))
        self.images, self.validation, self.phases = learner.images, learner.validation, learner.phases(train)
        found = len(self.images), len(self.validation.images)
        if not all(found):
            raise UserError(f"the dataset has {found[0]} training and {found[1]} validation images")
        self.optimiser = torch.optim.AdamW(learner.groups(), lr=train.learning_rate, fused=True)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=train.precision == "fp16")
        # It has a scale when it has scaled something, which a process without an image in the first batch has not.
        self.scaler.scale(torch.zeros((), device=group.device))
        self.graphs = StepGraphs(self._loss, self._learning()) if learner.few_shapes else None
        decay = train.adapt.ema_decay
        self.average = MovingAverage(learner.averaged(), decay) if decay else None
        self.steps_per_epoch = len(self.images.order(0, train.batch_images, seed))
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}

    # What a run does ------------------------------------------------------------------------------------------------

    def fit(self, run: Run, folder: ResumeFolder | None, stop: StopRequest, watch: Watch | None = None) -> None:
        """Train from where `progress` stands to the end, saving states to `folder` (rank 0's; None elsewhere).

        Raises:
            Pruned: `watch`, asked on rank 0 alone, has seen enough; the state is saved.
            KeyboardInterrupt, Terminated: the run was asked to stop; its state is saved.
            Untrainable: the loss is no number, or one image is too much for the GPU's memory.
        """
        progress = self.progress
        for epoch, row in enumerate(progress.history, start=1):
            run.log(epoch, row)
            heed(watch, self.group, epoch, row)
        for epoch, text in progress.events:
            run.event(epoch, text)
        kernels = f"{described(self.train.precision, self.group.device)}; {self.learner.kernels}"
        run.tag("kernels", kernels)
        if self.group.is_main:
            tqdm.write(kernels)
        self._tell_phase(run)
        with ResourceMonitor() as monitor:
            while (epoch := self._next_epoch(run)) >= 0:
                self.group.barrier()  # rank 0 may have waited for MLflow longer than a step waits for rank 0
                monitor.snapshot()  # what went before is no part of the epoch
                row = {**self.train_epoch(epoch, folder, stop, monitor, run), **monitor.snapshot()}
                self.save(folder)  # validation takes longer than those wait who asked this process to stop
                row |= self._validate()
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
        leave(stop, self.group)  # whoever was asked while the last epoch was validated: the state is saved

    def _next_epoch(self, run: Run) -> int:
        """The epoch to do, -1 when all is done. Goes over to the next phase when one has ended."""
        progress = self.progress
        # Not of the steps: stopped after its last one, an epoch is still to be validated.
        epoch = len(progress.history)
        if epoch < progress.phase_from + self.phase.epochs and not progress.controller.stopped:
            return epoch
        if progress.phase + 1 == len(self.phases):
            return -1
        self.learner.load(self.best)
        former, progress.phase, progress.phase_from = self.phase, progress.phase + 1, epoch
        if self.phase.member != former.member:
            progress.members.append(progress.best_epoch)
            progress.member_from, progress.best_epoch, progress.best_cider = epoch, 0, Progress.best_cider
            self.best = {}
            self.optimiser.state.clear()
        # A new memory: gradients have another length now, and rates and shares begin anew.
        progress.controller = Controller(best=progress.best_cider)
        self.learner.begin(self.phase)
        if self.average is not None:
            self.average.restart()
        self._tell(run, epoch, self.phase.told)
        self._tell_phase(run)
        return epoch

    def _tell_phase(self, run: Run) -> None:
        run.tag(EPOCHS_TAG, str(self.epochs))  # fewer than at first where a phase was stopped before its end
        run.tag("inputs", self.learner.reading)
        if self.group.is_main:
            tqdm.write(self.learner.reading)

    @property
    def phase(self) -> Phase:
        return self.phases[self.progress.phase]

    @property
    def _member_began(self) -> int:
        """After which step."""
        return self.progress.member_from * self.steps_per_epoch

    @property
    def epochs(self) -> int:
        """How many there will be, unless the controller stops before."""
        return self.progress.phase_from + sum(phase.epochs for phase in self.phases[self.progress.phase :])

    def train_epoch(
        self, epoch: int, folder: ResumeFolder | None, stop: StopRequest, monitor: ResourceMonitor, run: Run
    ) -> dict[str, float]:
        """The rest of an epoch's steps. Returns its loss or reward, the mean norm of its gradients, and its last
        learning rate."""
        train, group, progress = self.train, self.group, self.progress
        self.learner.teaching.train()
        order = self.images.order(epoch, train.batch_images, self.seed)
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
        monitor.count(
            images=progress.images, captions=progress.captions, seconds=progress.seconds, waited=progress.waited
        )
        batches = read_ahead(self.images, own, self.learner.read, group.device)
        with bar:
            for chosen, mine, batch in zip(order[begin:], own, monitor.timed(batches), strict=True):
                words, captions = self.images.count(chosen)
                own_loss, own_reward, norm = self.step(batch, mine, words, captions, run)
                # One exchange tells every process the whole loss and whether any of them was asked to stop.
                loss, reward, stopping = group.sum(own_loss, own_reward, bool(stop))
                if not np.isfinite(loss):
                    raise self._lost(f"the loss is {loss} at step {progress.step}")
                if progress.controller.broken_in_a_row >= MOST_BROKEN:
                    raise self._lost(f"the last {MOST_BROKEN} gradients were no numbers, at step {progress.step}")
                progress.step += 1
                progress.words += words
                progress.loss += loss
                progress.reward += reward
                if np.isfinite(norm):  # with a scaler some are not: their steps are left out
                    progress.norms += norm
                    progress.normed += 1
                monitor.count(images=len(chosen), captions=captions)
                progress.images, progress.captions = progress.images + len(chosen), progress.captions + captions
                progress.seconds, progress.waited = monitor.seconds, monitor.waited
                bar.update()
                if stopping:
                    self.save(folder)
                    raise stop.grant()
                if progress.step % train.save_every_steps == 0 and progress.step % self.steps_per_epoch:
                    self.save(folder)
        reward, loss = progress.reward / len(self.images), progress.loss / progress.words
        return {
            **({"train_reward": reward} if self.phase.rewarded else {"train_loss": loss}),
            "gradient_norm": progress.norms / max(1, progress.normed),
            "learning_rate": self._learning_rates(progress.step - 1)[0],
        }

    def step(
        self, batch: P, mine: Int[np.ndarray, " image"], words: int, captions: int, run: Run
    ) -> tuple[float, float, float]:
        """One optimiser step.

        Args:
            batch, mine: this process' share of the images, packed, and their positions in the training split.
            words, captions: of all processes' shares.

        Returns:
            this process' summed loss in nats, its summed reward, and the norm of the whole gradient before clipping.
        """
        train, progress = self.train, self.progress
        rates = self._learning_rates(progress.step)
        for parameters, rate in zip(self.optimiser.param_groups, rates, strict=True):
            parameters["lr"] = rate
        while True:
            try:
                nats, reward = self._backward(batch, mine, words, captions)
                break
            except torch.OutOfMemoryError:
                pass  # while it is handled, an error keeps alive what filled the memory
            self._halve(len(mine), run)
        add_up(self._learning(), self.group)
        self.scaler.unscale_(self.optimiser)
        gradients = [parameter.grad for parameter in self._learning() if parameter.grad is not None]
        norm = float(total := nn.utils.get_total_norm(gradients))
        if norm > train.clip_norm:
            nn.utils.clip_grads_with_norm_(self._learning(), train.clip_norm, total)
        # A norm that is no number is the scaler's business, where there is one and it scales: it leaves the step out
        # itself.
        scaled_too_far = self.scaler.is_enabled() and not np.isfinite(norm) and self.scaler.get_scale() > 1
        if scaled_too_far or progress.controller.accepts(norm, train.adapt):
            self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update(progress.step + 1 - self._member_began)
        return nats, reward, norm

    def _lost(self, what: str) -> Untrainable:
        section, rate = self.learner.section, RATES.get(self.phase.kind, "learning_rate")
        return Untrainable(f"{what}: lower {section}.{rate} or {section}.clip_norm, or use {section}.precision=fp32")

    def _backward(self, batch: P, mine: Int[np.ndarray, " image"], words: int, captions: int) -> tuple[float, float]:
        """Gradients of this process' share, micro-batch by micro-batch. Sums over the batch divided by the counts of
        the whole one: they add up to the same gradient however the images are divided."""
        train, progress = self.train, self.progress
        self.optimiser.zero_grad(set_to_none=True)
        seed = _mix(self.seed, progress.step, self.group.rank)
        whole = len(mine) and not (progress.micro_batch or train.micro_batch_images)
        taught = self.phase.kind == TEACHING and not progress.controller.sampling
        if self.graphs is not None and isinstance(batch, Batch) and whole and taught:
            return self.graphs(batch, words, captions, seed), 0.0
        torch.manual_seed(seed)
        nats = reward = 0.0
        for part in self._micro_batches(batch, mine):
            loss, losses = self._loss(part, words, captions)
            loss.backward()  # type: ignore[no-untyped-call]
            nats += float(losses.nats.detach())
            reward += losses.reward
        return nats, reward

    def _loss(self, batch: P, words: float | Tensor, captions: float | Tensor) -> tuple[Tensor, Losses]:
        """A batch's share of what is minimised, scaled where gradients are fp16."""
        losses: Losses = self.learner.teaching(batch, self.progress.controller.sampling)
        loss = losses.nats / words + self.train.attention_penalty * losses.coverage / captions
        return self.scaler.scale(loss), losses

    def _micro_batches(self, batch: P, mine: Int[np.ndarray, " image"]) -> Iterator[P]:
        size = self.progress.micro_batch or self.train.micro_batch_images or len(mine)
        if size >= len(mine):
            if len(mine):
                yield batch
            return
        for start in range(0, len(mine), size):
            yield self.images.part(batch, mine, slice(start, start + size))

    def _halve(self, images: int, run: Run) -> None:
        size = min(images, self.progress.micro_batch or self.train.micro_batch_images or images)
        if size == 1:
            raise Untrainable(
                "one image is too much for the GPU's memory: use "
                f"{self.learner.section}.gradient_checkpointing=true, {self.learner.section}.precision=bf16 "
                "or a smaller model"
            )
        self.optimiser.zero_grad(set_to_none=True)
        if self.graphs is not None:
            self.graphs.forget()
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
        train = self.train
        rate = self.phase.learning_rate
        if rate is None:
            steps = self.steps_per_epoch * self.phase.epochs
            factor = learning_rate_factor(
                step - self._member_began, steps, train.warmup_steps, train.final_learning_rate
            )
            rate = train.learning_rate * factor
        decoder = rate * self.progress.controller.rate
        encoder = train.encoder_learning_rate * self.progress.controller.rate
        return [decoder, decoder, encoder][: len(self.optimiser.param_groups)]

    def _validate(self) -> dict[str, float]:
        latest = self.validation.measure(self.learner.teaching, self.learner.read)
        if self.average is None:
            return latest
        self.average.swap()
        averaged = self.validation.measure(self.learner.teaching, self.learner.read)
        self.average.swap()
        better = max(latest, averaged, key=lambda figures: figures["val_CIDEr"])
        return {**better, "val_CIDEr_latest": latest["val_CIDEr"], "val_CIDEr_average": averaged["val_CIDEr"]}

    def _close_epoch(self, epoch: int, row: Mapping[str, float]) -> list[str]:
        """Take in a finished epoch. Returns what the controller decided."""
        progress = self.progress
        progress.words = progress.loss = progress.norms = progress.reward = progress.normed = 0
        progress.seconds, progress.waited, progress.images, progress.captions = 0.0, 0.0, 0, 0
        best = progress.history[progress.best_epoch - 1] if progress.best_epoch else None
        if best is None or _merit(row) > _merit(best):
            progress.best_epoch, progress.best_cider = epoch, row["val_CIDEr"]
            averaged = self.average is not None and row["val_CIDEr_average"] > row["val_CIDEr_latest"]
            if averaged and self.average:
                self.average.swap()
            self.best = {name: value.detach().cpu().clone() for name, value in self.learner.weights().items()}
            if averaged and self.average:
                self.average.swap()
        progress.history.append(dict(row))
        adapt = self.train.adapt
        if self.phase.rewarded:
            adapt = adapt.model_copy(update={"most_sampling": 0.0})
        decisions = progress.controller.after_epoch(row, adapt)
        progress.events += [(epoch, text) for text in decisions]
        return decisions

    # What survives --------------------------------------------------------------------------------------------------

    def load_best(self) -> None:
        """Become the best epoch."""
        self.learner.load(self.best)

    def save(self, folder: ResumeFolder | None) -> None:
        if folder is not None:
            folder.save(self.progress.step, self.state())

    def state(self) -> SavedState:
        """Everything the next step depends on."""
        tensors = dict(self.learner.weights()) | {f"best.{name}": value for name, value in self.best.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        if self.average is not None:
            tensors |= {f"average.{index}": value for index, value in enumerate(self.average.values)}
        return SavedState(tensors, {"progress": asdict(self.progress), "scaler": self.scaler.state_dict()})

    def restore(self, state: SavedState) -> None:
        """Become the trainer that saved `state`; the learning rate stays that of the settings."""
        self.progress = Progress.from_json(state.facts["progress"])
        for phase in self.phases[1 : self.progress.phase + 1]:
            self.learner.begin(phase)
        self.learner.load(state.tensors)
        self.best = under("best.", state.tensors)
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimiser.", state.tensors).items():
            index, key = name.split(".", 1)
            parameter = parameters[int(index)]
            if value.shape == parameter.shape:
                # In the parameter's own layout (a CNN's is channels last): the fused step goes by position in memory.
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            moments.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        if self.average is not None:
            for index, value in under("average.", state.tensors).items():
                self.average.values[int(index)].copy_(value)
        self.scaler.load_state_dict(state.facts["scaler"])


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1


def _merit(row: Mapping[str, float]) -> tuple[float, float]:
    """What makes an epoch the best one: its captions, and of equally good ones what it makes of people's."""
    return row["val_CIDEr"], -row["val_loss"]


def _line(epoch: int, row: Mapping[str, float], best: bool) -> str:
    learnt = f"reward {row['train_reward']:.3f}" if "train_reward" in row else f"loss {row['train_loss']:.3f}"
    return (
        f"epoch {epoch:3d}  {learnt}  val loss {row['val_loss']:.3f}  "
        f"val CIDEr {row['val_CIDEr']:.3f}{' *' if best else '  '}  {row['captions_per_second']:,.0f} captions/s"
    )
