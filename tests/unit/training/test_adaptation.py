"""The controller decides by what a run measures, each decision can be switched off, an interruption changes none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
import tiny
import torch

from src.config import Adapt, Settings
from src.training import adaptation
from src.training.adaptation import KNOWN, MEANINGFUL, WINDOW, Controller
from src.training.progress import Progress
from src.training.resume import ResumeFolder
from src.training.stopping import StopRequest
from src.training.trainer import Trainer

OFF = Adapt(plateau_epochs=0, stop_epochs=0, ema_decay=0.0, most_sampling=0.0, sampling_step=0.0, spike_factor=0.0)


def settings(**changes: Any) -> Adapt:
    return OFF.model_copy(update=changes)


def row(cider: float = 0.5, loss: float = 2.0, **figures: float) -> dict[str, float]:
    return {"val_CIDEr": cider, "val_loss": loss, "wait_share": 0.0, "seconds": 60.0, **figures}


def decided(controller: Controller, chosen: Adapt, *rows: dict[str, float]) -> list[list[str]]:
    return [controller.after_epoch(one, chosen) for one in rows]


def test_the_learning_rate_falls_once_for_every_plateau():
    controller, rates = Controller(), []
    for cider in (0.5, 0.5, 0.4, 0.5, 0.5, 0.6, 0.6, 0.6):
        controller.after_epoch(row(cider), settings(plateau_epochs=2, plateau_factor=0.1))
        rates.append(controller.rate)
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001])


def test_a_fallen_learning_rate_is_told_with_what_is_left_of_it():
    *_, told = decided(Controller(), settings(plateau_epochs=1, plateau_factor=0.5), row(), row(), row())
    assert told == ["validation CIDEr has not risen for 1 epochs: learning rate x 0.25"]


def test_a_rise_too_small_to_mean_anything_is_none():
    controller = Controller()
    decided(controller, OFF, row(0.5), row(0.5 + MEANINGFUL / 2))
    assert (controller.waited, controller.stalled) == (1, 1)
    controller.after_epoch(row(0.5 + 2 * MEANINGFUL), OFF)
    assert (controller.waited, controller.stalled) == (0, 0)


def test_while_no_caption_is_right_a_falling_loss_is_progress():
    chosen = settings(plateau_epochs=2, stop_epochs=3)
    falling = [row(0.0, loss) for loss in (5.0, 4.0, 3.0, 2.0, 1.0)]
    controller = Controller()
    assert decided(controller, chosen, *falling) == [[]] * 5
    assert [bool(told) for told in decided(controller, chosen, *[row(0.0, 1.0)] * 3)] == [False, True, True]
    assert controller.stopped


def test_small_rises_add_up_to_one_that_counts():
    controller = Controller()
    rising = [row(0.5 + epoch * 0.9 * MEANINGFUL) for epoch in range(20)]
    told = decided(controller, settings(stop_epochs=3, plateau_epochs=3), *rising)
    assert not any(told)
    assert (controller.stopped, controller.rate) == (False, 1.0)


def test_training_stops_after_its_patience_whatever_the_learning_rate_did():
    controller = Controller()
    chosen = settings(stop_epochs=3, plateau_epochs=1)
    *before, last = decided(controller, chosen, row(0.5), row(0.4), row(0.5), row(0.3))
    assert controller.stopped
    assert not any("stopped" in text for texts in before for text in texts)
    assert last[-1] == "validation CIDEr has not risen for 3 epochs: stopped"


def test_progress_renews_the_patience():
    controller = Controller()
    decided(controller, settings(stop_epochs=2), row(0.5), row(0.5), row(0.6), row(0.6))
    assert not controller.stopped


def test_a_gradient_that_is_no_number_is_left_out_told_and_not_remembered():
    controller = Controller()
    assert [controller.accepts(norm, OFF) for norm in (1.0, float("inf"), float("nan"))] == [True, False, False]
    assert controller.norms == [1.0]
    assert (controller.broken, controller.broken_in_a_row) == (2, 2)
    assert decided(controller, OFF, row()) == [["left out 2 gradients that were no numbers"]]
    assert controller.accepts(1.0, OFF)
    assert (controller.broken, controller.broken_in_a_row) == (0, 0)


def test_sampling_grows_only_when_validation_loss_no_longer_falls_and_up_to_its_bound():
    controller, shares = Controller(), []
    for loss in (3.0, 2.5, 2.5, 2.4, 2.6, 2.7, 2.8):
        controller.after_epoch(row(loss=loss), settings(most_sampling=0.25, sampling_step=0.1))
        shares.append(controller.sampling)
    assert shares == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.25, 0.25])


def test_a_share_at_its_bound_is_told_no_more():
    _, grown, bounded = decided(Controller(), settings(most_sampling=0.1, sampling_step=0.1), row(), row(), row())
    assert grown == ["validation loss no longer falls: 10% of the input words are the decoder's own"]
    assert bounded == []


def test_the_better_weights_are_told_when_they_change():
    controller = Controller()
    told = decided(
        controller,
        settings(ema_decay=0.9),
        *(row(val_CIDEr_latest=latest, val_CIDEr_average=0.5) for latest in (0.5, 0.4, 0.3, 0.6)),
    )
    assert told == [
        [],
        ["the averaged weights are the better ones now"],
        [],
        ["the latest weights are the better ones now"],
    ]


@pytest.mark.parametrize(
    ("share", "seconds", "told"), [(0.5, 60.0, True), (0.1, 60.0, False), (0.5, 1.0, False), (0.1, 1.0, False)]
)
def test_waiting_for_data_is_told_of_long_epochs_alone(share, seconds, told):
    decisions = Controller().after_epoch(row(wait_share=share, seconds=seconds), OFF)
    assert decisions == (["waited for data 50% of the epoch: the storage is the bottleneck"] if told else [])


def test_a_spike_is_left_out_once_the_usual_norm_is_known():
    chosen = settings(spike_factor=10.0)
    early = Controller(norms=[1.0] * (KNOWN - 1))
    assert early.accepts(100.0, chosen)
    controller = Controller(norms=[1.0] * KNOWN)
    assert controller.accepts(9.9, chosen)
    assert not controller.accepts(10.1, chosen)


def test_gradients_left_out_are_told_once():
    controller, chosen = Controller(norms=[1.0] * KNOWN), settings(spike_factor=10.0)
    for norm in (11.0, 1.0, 12.0):
        controller.accepts(norm, chosen)
    assert decided(controller, chosen, row(), row()) == [["left out 2 gradients over 10 times the usual norm"], []]


def test_gradients_that_stay_long_become_the_usual_ones():
    controller, chosen = Controller(norms=[1.0] * WINDOW), settings(spike_factor=10.0)
    accepted = [controller.accepts(50.0, chosen) for _ in range(WINDOW)]
    assert not accepted[0] and accepted[-1]


def test_only_so_many_norms_are_remembered():
    controller = Controller()
    for norm in range(3 * WINDOW):
        controller.accepts(float(norm), OFF)
    assert controller.norms == [float(norm) for norm in range(2 * WINDOW, 3 * WINDOW)]


def test_switched_off_it_decides_nothing():
    controller = Controller(norms=[1.0] * KNOWN)
    assert controller.accepts(1e9, OFF)
    assert not any(decided(controller, OFF, *[row(0.5, 2.0)] * 20))
    assert (controller.rate, controller.sampling, controller.stopped) == (1.0, 0.0, False)


@pytest.mark.parametrize("off", ["most_sampling", "sampling_step"])
def test_sampling_that_cannot_grow_is_no_decision(off):
    chosen = settings(**({"most_sampling": 0.5, "sampling_step": 0.1} | {off: 0.0}))
    assert decided(Controller(), chosen, row(), row(), row()) == [[], [], []]


def test_what_it_remembers_survives_as_json():
    chosen = settings(plateau_epochs=2, stop_epochs=9, most_sampling=0.5, sampling_step=0.1, spike_factor=3.0)
    rows = [row(0.5 - 0.01 * epoch, 2.0, val_CIDEr_latest=0.1, val_CIDEr_average=0.2) for epoch in range(6)]
    controller = Controller()
    for norm in range(1, KNOWN + 5):
        controller.accepts(norm / 3, chosen)
    controller.accepts(1e3, chosen)
    decided(controller, chosen, *rows[:3])
    progress = Progress(step=7, events=[(1, "one")], micro_batch=2, phase=1, phase_from=3, controller=controller)
    again = Progress.from_json(json.loads(json.dumps(asdict(progress))))
    assert again == progress
    assert decided(again.controller, chosen, *rows[3:]) == decided(controller, chosen, *rows[3:])
    assert again.controller == controller


# A run with everything switched on


@pytest.fixture(scope="module")
def everything() -> Iterator[Settings]:
    """Parameters under which every kind of decision is made within a few epochs."""
    adapt = {"plateau_epochs": 2, "stop_epochs": 0, "ema_decay": 0.9, "spike_factor": 1.05}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(adaptation, "KNOWN", 3)
        yield tiny.settings(
            train={
                "epochs": 6,
                "batch_images": 4,
                "precision": "fp32",
                "warmup_steps": 2,
                "learning_rate": 0.3,
                "micro_batch_images": 3,
                "gradient_checkpointing": True,
                "attention_penalty": 0.5,
                "adapt": adapt | {"most_sampling": 0.5, "sampling_step": 0.25},
            }
        ).model_copy(update={"seed": 3})


def fresh(everything: Settings) -> Trainer:
    return tiny.trainer(everything, tiny.manifest(train=10, val=6))


@pytest.fixture(scope="module")
def uninterrupted(everything) -> Trainer:
    trainer = fresh(everything)
    trainer.fit(tiny.Remembered(), None, StopRequest())
    return trainer


def test_a_run_makes_and_tells_every_kind_of_decision(everything, uninterrupted):
    run = tiny.Remembered()
    fresh(everything).fit(run, None, StopRequest())
    assert run.events == [text for _, text in uninterrupted.progress.events]
    for kind in ("learning rate x", "input words are the decoder's own", "left out", "weights are the better"):
        assert [text for text in run.events if kind in text], kind


@pytest.mark.parametrize("step", range(1, 18, 2))
def test_an_interrupted_run_decides_as_an_uninterrupted_one_and_ends_with_its_weights(
    everything, uninterrupted, tmp_path, step
):
    folder = ResumeFolder(tmp_path, "run")
    with pytest.raises(SystemExit):
        fresh(everything).fit(tiny.Remembered(), folder, tiny.StopAfter(step))
    trainer = fresh(everything)
    trainer.restore(folder.load())
    trainer.fit(tiny.Remembered(), folder, StopRequest())
    folder.close()
    assert trainer.progress.controller == uninterrupted.progress.controller
    assert trainer.progress.events == uninterrupted.progress.events
    expected = uninterrupted.state().tensors
    assert trainer.state().tensors.keys() == expected.keys()
    for name, value in trainer.state().tensors.items():
        assert torch.equal(value, expected[name]), name


def test_a_left_out_gradient_moves_no_weight(everything):
    trainer = fresh(everything)
    trainer.progress.controller = Controller(norms=[1e-9] * KNOWN)
    before = [parameter.detach().clone() for parameter in trainer.learner.decoder.parameters()]
    with pytest.raises(SystemExit):
        trainer.fit(tiny.Remembered(), None, tiny.StopAfter(1))
    assert trainer.progress.controller.skipped == 1
    assert all(map(torch.equal, before, trainer.learner.decoder.parameters()))


def test_a_lowered_learning_rate_is_used(everything):
    trainer = fresh(everything)
    trainer.progress.controller = Controller(rate=0.25)
    with pytest.raises(SystemExit):
        trainer.fit(tiny.Remembered(), None, tiny.StopAfter(3))
    assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(0.3 * 0.25, rel=0.1)


def test_an_early_stop_ends_the_run(everything, monkeypatch):
    chosen = everything.train.adapt.model_copy(update={"stop_epochs": 2})
    trainer = fresh(everything.model_copy(update={"train": everything.train.model_copy(update={"adapt": chosen})}))
    monkeypatch.setattr(trainer.validation, "_cider", lambda own: 0.3)
    trainer.fit(tiny.Remembered(), None, StopRequest())
    assert len(trainer.progress.history) == 3
    assert trainer.progress.controller.stopped
