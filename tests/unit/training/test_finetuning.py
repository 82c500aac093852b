"""After the decoder the CNN learns too, from the images themselves, all but its batch norms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from photographed import STEPS, Tunable
from torch import nn

from src.encoders import loading as encoders
from src.errors import UserError
from src.training.batches import CaptionedImages
from src.training.objectives import TeacherForcing
from src.training.resume import ResumeFolder
from src.training.stopping import StopRequest
from src.training.trainer import Trainer


def fitted(trainer: Trainer, run: tiny.Remembered | None = None) -> Trainer:
    trainer.fit(run or tiny.Remembered(), None, StopRequest())
    return trainer


def stopped(trainer: Trainer, steps: int, folder: ResumeFolder | None = None) -> Trainer:
    with pytest.raises(SystemExit):
        trainer.fit(tiny.Remembered(), folder, tiny.StopAfter(steps))
    return trainer


def norms(trainer: Trainer) -> set[str]:
    return {name for name, part in trainer.learner.encoder.network.named_modules() if isinstance(part, nn.BatchNorm2d)}


def copied(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.learner.encoder.network.state_dict().items()}


def test_the_encoder_learns_but_its_batch_norms_do_not(tunable):
    trainer = tunable.trainer()
    before = copied(trainer)
    after = copied(fitted(trainer))
    frozen = norms(trainer)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert not {name for name in changed if name.rpartition(".")[0] in frozen}
    learnt = {name for name, _ in trainer.learner.encoder.network.named_parameters() if name.startswith("features.")}
    assert changed == {name for name in learnt if name.rpartition(".")[0] not in frozen}


def test_epochs_on_cached_grids_never_touch_the_encoder(tunable, monkeypatch):
    trainer = tunable.changed(epochs=2).trainer()
    before = copied(trainer)
    with monkeypatch.context() as forbidden:
        forbidden.setattr(trainer.learner.encoder, "forward", None)
        forbidden.setattr(trainer.learner, "read_pixels", None)
        stopped(trainer, 2 * STEPS)  # the first epoch is validated too
    assert all(torch.equal(value, before[name]) for name, value in copied(trainer).items())
    assert not any(parameter.requires_grad for parameter in trainer.learner.encoder.parameters())


def test_the_encoder_begins_to_learn_beside_the_best_decoder_not_the_latest(tunable, worse, monkeypatch):
    trainer = tunable.changed(epochs=3).trainer()
    begun: list[dict[str, torch.Tensor]] = []
    learn = trainer.learner.encoder.learn

    def noted(*arguments: Any, **options: Any) -> None:
        begun.append({name: value.clone() for name, value in trainer.learner.decoder.state_dict().items()})
        learn(*arguments, **options)

    monkeypatch.setattr(trainer.learner.encoder, "learn", noted)
    run = tiny.Remembered()
    fitted(trainer, run)
    assert trainer.progress.best_epoch == 1
    assert all(torch.equal(value, trainer.best[f"decoder.{name}"]) for name, value in begun[0].items())
    assert run.events == ["the encoder learns from here on, from the images themselves"]
    assert list(run.rows) == [1, 2, 3, 4]


@pytest.mark.parametrize(("final", "told"), [(0.0, True), (0.05, False)])
def test_a_learning_rate_that_ends_at_nothing_leaves_the_decoder_still_which_is_told(tunable, final, told):
    trainer = tunable.changed(final_learning_rate=final).trainer()
    assert ("the decoder stands still" in trainer.phases[-1].told) == told


def test_after_it_drawn_captions_are_taught_beside_the_encoder_that_the_best_decoder_saw_with(tunable, worse):
    settings = {"epochs": 1, "finetune_encoder": 1, "self_critical_epochs": 1}
    trainer = tunable.changed(**settings).trainer()
    before = {name: value.clone() for name, value in trainer.learner.encoder.used_state().items()}
    begun: list[dict[str, torch.Tensor]] = []
    begin = trainer.learner.begin

    def noted(kind: str) -> None:
        begun.append({name: value.clone() for name, value in trainer.learner.encoder.used_state().items()})
        begin(kind)

    trainer.learner.begin = noted
    fitted(trainer)
    assert trainer.progress.best_epoch == 1
    assert len(begun) == 2 and all(torch.equal(value, before[name]) for name, value in begun[1].items())


def test_its_averages_begin_with_that_decoder(tunable, monkeypatch):
    adapt = tunable.settings.train.adapt.model_copy(update={"ema_decay": 0.5})
    trainer = tunable.changed(epochs=3, adapt=adapt).trainer()
    ciders = iter([0.9, 0.1, *[0.0] * 20])  # the latest weights of the first epoch are the best
    monkeypatch.setattr(trainer.validation, "_cider", lambda own: next(ciders))
    begun: list[bool] = []
    train_epoch = trainer.train_epoch

    def noted(*arguments: Any) -> dict[str, float]:
        begun.append(all(map(torch.equal, trainer.average.values, trainer.learner.decoder.parameters())))
        return train_epoch(*arguments)

    monkeypatch.setattr(trainer, "train_epoch", noted)
    fitted(trainer)
    assert begun == [True, False, False, True]


def test_the_controller_begins_anew(tunable, worse):
    adapt = tunable.settings.train.adapt.model_copy(update={"plateau_epochs": 1, "stop_epochs": 2})
    trainer = fitted(tunable.changed(epochs=9, finetune_encoder=9, adapt=adapt).trainer())
    # Three epochs to stop in each part; in the second none is better than the best of the first.
    assert (trainer.progress.phase, trainer.progress.phase_from) == (1, 3)
    assert len(trainer.progress.history) == 5
    assert trainer.progress.controller.rate == 0.25
    assert len(trainer.progress.controller.norms) == 2 * STEPS


def test_encoder_and_decoder_have_learning_rates_of_their_own(tunable):
    trainer = tunable.changed(encoder_learning_rate=0.003).trainer()
    stopped(trainer, STEPS + 1)
    rates = [group["lr"] for group in trainer.optimiser.param_groups]
    assert rates == [pytest.approx(0.01 * 0.5)] * 2 + [pytest.approx(0.003)]


def test_without_the_encoder_nothing_can_be_tuned(tunable):
    with pytest.raises(UserError, match=r"train\.finetune_encoder needs the encoder"):
        fitted(tunable.trainer(with_encoder=False))


def test_computing_blocks_and_steps_again_gives_the_same_gradients(tunable):
    def gradients(checkpointing: bool) -> dict[str, torch.Tensor]:
        encoder = encoders.load(tunable.settings.embed)
        encoder.learn(checkpointing=checkpointing)
        decoder = tunable.trainer().learner.decoder
        images = CaptionedImages(tunable.manifest.split("train"), tunable.manifest.rows("train"), tiny.vocabulary(), 20)
        pixels = np.stack([encoder.pixels(tunable.picture(row)) for row in range(6)])
        batch = images.pack(np.arange(6)).with_grids(torch.from_numpy(pixels))
        teaching = TeacherForcing(
            decoder, coverage=True, checkpointing=checkpointing, encoder=encoder
        ).eval()  # no dropout
        sum(teaching(batch)).backward()
        learnt = [*encoder.network.named_parameters(prefix="encoder"), *decoder.named_parameters()]
        return {name: parameter.grad for name, parameter in learnt if parameter.grad is not None}

    plain, again = gradients(False), gradients(True)
    assert plain.keys() == again.keys()
    assert sum(name.startswith("encoder.") for name in plain) == len(encoders.load(tunable.settings.embed).learnable())
    for name, value in plain.items():
        assert float((again[name] - value).norm()) <= 1e-5 * float(value.norm()) + 1e-6, name


@pytest.fixture(scope="module")
def adapted(tunable) -> Tunable:
    """With averages, in micro-batches, saved after every step."""
    adapt = tunable.settings.train.adapt.model_copy(update={"ema_decay": 0.9, "plateau_epochs": 1})
    return tunable.changed(
        finetune_encoder=2, adapt=adapt, micro_batch_images=2, gradient_checkpointing=True, save_every_steps=1
    )


@pytest.fixture(scope="module")
def uninterrupted(adapted) -> Trainer:
    return fitted(adapted.trainer())


@pytest.mark.parametrize("step", range(1, 3 * STEPS + 1))
def test_interrupted_while_the_encoder_learns_it_goes_on_to_the_same_weights(adapted, uninterrupted, tmp_path, step):
    folder = ResumeFolder(tmp_path, "run")
    stopped(adapted.trainer(), step, folder)
    trainer = adapted.trainer()
    trainer.restore(folder.load())
    torch.manual_seed(999)
    fitted(trainer)
    folder.close()
    expected = uninterrupted.state().tensors
    found = trainer.state().tensors
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert trainer.progress.controller == uninterrupted.progress.controller
