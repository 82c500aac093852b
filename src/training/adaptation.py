"""A controller that watches a run and adapts it, so that nobody has to sit beside it.

It sees each step's gradient norm and each epoch's figures, and decides on the learning rate, on scheduled sampling,
on which weights are the better ones, and on when to stop. Every decision is an event of the run; everything it
remembers is part of the saved state, so that a resumed run decides as an uninterrupted one would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from src.config import Adapt

WINDOW = 101
"""Gradient norms that the controller remembers."""
KNOWN = 25
"""Norms it must have seen before it calls one a spike."""
MEANINGFUL = 1e-3
"""CIDEr by which an epoch must be better to count as progress."""
MOST_BROKEN = 10
"""Gradients in a row that are no numbers: then it is no accident."""
LONG_SECONDS = 10.0
"""An epoch that takes less is over before its first batches are read."""
MOST_WAITING = 0.2
"""Share of an epoch spent waiting for batches that is worth a word."""


@dataclass
class Controller:
    """What the controller remembers; all of it is plain JSON.

    Attributes:
        rate: factor on the scheduled learning rate.
        sampling: share of input words that the decoder supplies itself (Bengio et al. 2015).
        waited: epochs since validation CIDEr last rose, for the learning rate; `stalled` for stopping.
        best: validation CIDEr of the last epoch that counted as progress.
        broken: gradients of this epoch that were no numbers, `broken_in_a_row` of them the last ones.
        averaged: the moving average of the weights was better than the weights themselves at the last validation.
        norms: of the last gradients, oldest first.
    """

    rate: float = 1.0
    sampling: float = 0.0
    best: float = -1.0
    waited: int = 0
    stalled: int = 0
    last_val_loss: float | None = None
    averaged: bool = False
    skipped: int = 0
    broken: int = 0
    broken_in_a_row: int = 0
    stopped: bool = False
    norms: list[float] = field(default_factory=list)

    def accepts(self, norm: float, settings: Adapt) -> bool:
        """Whether a gradient of this norm may move the weights: one that is no number, or far beyond the usual, is left
        out."""
        if not math.isfinite(norm):
            self.broken, self.broken_in_a_row = self.broken + 1, self.broken_in_a_row + 1
            return False
        self.broken_in_a_row = 0
        usual = median(self.norms) if len(self.norms) >= KNOWN else None
        # Spikes are remembered too: few do not move a median, and where all norms have grown they become the usual.
        self.norms = [*self.norms[-WINDOW + 1 :], norm]
        if settings.spike_factor and usual is not None and norm > settings.spike_factor * usual:
            self.skipped += 1
            return False
        return True

    def after_epoch(self, row: Mapping[str, float], settings: Adapt) -> list[str]:
        """Decide on the epochs to come from the figures of the one that ended.

        Returns:
            the decisions in words, for the log.
        """
        decisions: list[str] = []
        if self.skipped:
            decisions.append(f"left out {self.skipped} gradients over {settings.spike_factor:g} times the usual norm")
            self.skipped = 0
        if self.broken:
            decisions.append(f"left out {self.broken} gradients that were no numbers")
            self.broken = 0
        if row["wait_share"] > MOST_WAITING and row["seconds"] > LONG_SECONDS:
            decisions.append(f"waited for data {row['wait_share']:.0%} of the epoch: the storage is the bottleneck")
        if "val_CIDEr_average" in row:
            averaged = row["val_CIDEr_average"] > row["val_CIDEr_latest"]
            if averaged != self.averaged:
                self.averaged = averaged
                decisions.append(f"the {'averaged' if averaged else 'latest'} weights are the better ones now")
        # Captions that are all wrong are equally wrong: then the loss tells whether anything is learnt.
        learning = row["val_CIDEr"] == self.best == 0 and row["val_loss"] < (self.last_val_loss or 0.0)
        if row["val_CIDEr"] > self.best + MEANINGFUL or learning:
            self.best, self.waited, self.stalled = row["val_CIDEr"], 0, 0
        else:  # the best stays where it is: small rises add up to one that counts
            self.waited, self.stalled = self.waited + 1, self.stalled + 1
        decisions += self._sampling(row["val_loss"], settings)
        if settings.plateau_epochs and self.waited >= settings.plateau_epochs:
            self.rate, self.waited = self.rate * settings.plateau_factor, 0
            decisions.append(
                f"validation CIDEr has not risen for {settings.plateau_epochs} epochs: learning rate x {self.rate:g}"
            )
        if settings.stop_epochs and self.stalled >= settings.stop_epochs:
            self.stopped = True
            decisions.append(f"validation CIDEr has not risen for {self.stalled} epochs: stopped")
        return decisions

    def _sampling(self, val_loss: float, settings: Adapt) -> list[str]:
        former, self.last_val_loss = self.last_val_loss, val_loss
        grown = min(settings.most_sampling, self.sampling + settings.sampling_step)
        if former is None or val_loss < former or grown <= self.sampling:
            return []
        self.sampling = grown
        return [f"validation loss no longer falls: {self.sampling:.0%} of the input words are the decoder's own"]
