"""One process asks whether a trial is worth its epochs; all end, or all go on."""

from __future__ import annotations

import pytest
import tiny

from src.processes import Group
from src.tracking import Pruned


def epochs_done(group: Group, last: int) -> tuple[int, list[int]]:
    """Epochs after which the training ended, and those that the process was asked about."""
    asked: list[int] = []

    def watch(epoch, row) -> bool:
        asked.append(epoch)
        return epoch == last

    trainer = tiny.trainer(tiny.settings(train={"epochs": 3}), group=group)
    try:
        trainer.fit(tiny.Remembered(), None, tiny.StopAfter(10**9), watch)
    except Pruned:
        return len(trainer.progress.history), asked
    return -1, asked


def test_all_processes_end_after_the_same_epoch_and_the_first_alone_is_asked(ranks):
    assert ranks(epochs_done, 2) == [(2, [1, 2]), (2, [])]


def test_nobody_ends_without_a_reason(ranks):
    assert ranks(epochs_done, 9) == [(-1, [1, 2, 3]), (-1, [])]


def test_after_a_restart_the_epochs_before_it_are_told_again(tmp_path):
    whole = tiny.trainer(tiny.settings(train={"epochs": 2}))
    whole.fit(tiny.Remembered(), None, tiny.StopAfter(10**9))
    again = tiny.trainer(tiny.settings(train={"epochs": 2}))
    again.restore(whole.state())
    told: list[int] = []
    with pytest.raises(Pruned, match="after epoch 2"):
        again.fit(
            tiny.Remembered(), None, tiny.StopAfter(10**9), lambda epoch, row: bool(told.append(epoch)) or epoch == 2
        )
    assert told == [1, 2]
