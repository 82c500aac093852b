"""A run learns, measures what it says it measures, and refuses what cannot work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from src.data.manifest import Manifest
from src.data.vocabulary import END, START
from src.decoding.search import greedy
from src.errors import UserError
from src.metrics.cider import CiderScorer
from src.tracking import EPOCHS_TAG
from src.training import trainer as training
from src.training.gradients import parameter_groups
from src.training.resume import ResumeFolder
from src.training.schedule import learning_rate_factor
from src.training.stopping import StopRequest
from src.training.trainer import Trainer


def fitted(trainer: Trainer) -> Trainer:
    trainer.fit(tiny.Remembered(), None, StopRequest())
    return trainer


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
def test_a_few_images_are_learnt_by_heart(rnn):
    said = [
        ("a", "red", "dog", "runs"),
        ("the", "blue", "cat", "sits", "on", "grass"),
        ("a", "dog"),
    ]
    images = [tiny.image(0, "train", (words,)) for words in said] + [tiny.image(0, "val", (words,)) for words in said]
    described = Manifest.of(replace(image, name=f"tiny/{row}") for row, image in enumerate(images))
    settings = tiny.settings(
        model={"rnn": rnn, "hidden_size": 24, "dropout": 0.0},
        train={"epochs": 50, "learning_rate": 0.02, "label_smoothing": 0.0},
    )
    trainer = fitted(tiny.trainer(settings, described, seen=np.concatenate([tiny.grids(3)] * 2)))
    assert trainer.progress.best_cider > 5
    assert trainer.progress.history[-1]["train_loss"] < 0.1 < 1 < trainer.progress.history[0]["train_loss"]


def test_the_losses_are_the_mean_over_all_words_of_a_split():
    settings = tiny.settings(train={"epochs": 1, "learning_rate": 1e-12, "label_smoothing": 0.0}, model={"dropout": 0})
    trainer = fitted(tiny.trainer(settings))
    (row,) = trainer.progress.history
    decoder = trainer.learner.decoder.eval()
    for images, figure in ((trainer.images, "train_loss"), (trainer.validation.images, "val_loss")):
        nats, count = 0.0, 0
        for image, captions in zip(images.rows, images.captions, strict=True):
            for words in captions:
                with torch.no_grad():
                    memory, state = decoder.begin(torch.from_numpy(tiny.grids(13)[[image]]))
                    for entered, target in zip([START, *words], [*words, END], strict=True):
                        likely, state, _ = decoder.next(torch.tensor([[entered]]), memory, state)
                        nats, count = nats - float(likely[0, 0, target]), count + 1
        assert row[figure] == pytest.approx(nats / count, rel=1e-5)


def test_validation_cider_is_that_of_greedy_captions():
    described = tiny.manifest()
    trainer = tiny.trainer(tiny.settings(train={"epochs": 1, "learning_rate": 1e-12}), described)
    trainer.learner.decoder.load_state_dict(tiny.decoder().state_dict())  # one that says several words
    fitted(trainer)
    found = greedy(trainer.learner.decoder.eval(), torch.from_numpy(tiny.grids(13)[described.rows("val")]), 7)
    captions = [trainer.learner.vocabulary.decode(one.ids) for one in found]
    expected = CiderScorer([image.words for image in described.split("val")]).score(captions).mean()
    assert expected > 0
    assert trainer.progress.history[0]["val_CIDEr"] == pytest.approx(float(expected))


@pytest.mark.parametrize(("ciders", "losses", "best"), [
    ((0.2, 0.9, 0.8, 0.3), (4.0, 3.0, 2.0, 1.0), 2),
    ((0.2, 0.9, 0.9, 0.3), (4.0, 3.0, 2.0, 1.0), 3),
    ((0.2, 0.9, 0.9, 0.3), (4.0, 3.0, 3.0, 1.0), 2),
    ((0.0, 0.0, 0.0, 0.0), (4.0, 3.0, 2.0, 2.5), 3),
])  # fmt: skip
def test_the_epoch_with_the_best_cider_is_kept_and_of_equal_ones_that_with_the_least_loss(
    monkeypatch, ciders, losses, best
):
    trainer = tiny.trainer(tiny.settings(train={"epochs": 4}))
    figures, weights = zip(ciders, losses, strict=True), []

    def scored(*_):
        weights.append(
            {f"decoder.{name}": value.clone() for name, value in trainer.learner.decoder.state_dict().items()}
        )
        return dict(zip(("val_CIDEr", "val_loss"), next(figures), strict=True))

    monkeypatch.setattr(trainer.validation, "measure", scored)
    fitted(trainer)
    assert (trainer.progress.best_epoch, trainer.progress.best_cider) == (best, max(ciders))
    assert all(torch.equal(value, trainer.best[name]) for name, value in weights[best - 1].items())
    assert not torch.equal(weights[best - 1]["decoder.vocab.weight"], weights[3]["decoder.vocab.weight"])


def test_every_step_has_its_scheduled_learning_rate(monkeypatch):
    trainer = tiny.trainer(tiny.settings(train={"epochs": 2}))
    step, rates = trainer.optimiser.step, []

    def noted(*arguments):
        rates.append({parameters["lr"] for parameters in trainer.optimiser.param_groups})
        return step(*arguments)

    monkeypatch.setattr(trainer.optimiser, "step", noted)
    fitted(trainer)
    assert rates == [{0.01 * learning_rate_factor(number, 6, 2, 0.05)} for number in range(6)]


def test_an_epochs_gradient_norm_is_the_mean_of_its_steps(monkeypatch):
    trainer = tiny.trainer(tiny.settings(train={"epochs": 2}))
    step, norms = trainer.step, []

    def noted(*arguments):
        *sums, norm = step(*arguments)
        norms.append(norm)
        return *sums, norm

    monkeypatch.setattr(trainer, "step", noted)
    fitted(trainer)
    for row, own in zip(trainer.progress.history, (norms[:3], norms[3:]), strict=True):
        assert row["gradient_norm"] == pytest.approx(np.mean(own))


def test_a_gradient_is_cut_off_at_its_greatest_norm():
    trainer = tiny.trainer(tiny.settings(train={"clip_norm": 1e-3}))
    optimise, norms = trainer.optimiser.step, []

    def noted(*arguments):
        gradients = [parameter.grad for parameter in trainer.learner.decoder.parameters()]
        norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))
        return optimise(*arguments)

    trainer.optimiser.step = noted
    fitted(trainer)
    assert norms == pytest.approx([1e-3] * 6, rel=1e-2)


def test_a_row_of_every_epoch_is_logged():
    run = tiny.Remembered()
    tiny.trainer(tiny.settings(train={"epochs": 3})).fit(run, None, StopRequest())
    assert list(run.rows) == [1, 2, 3]
    for row in run.rows.values():
        assert {"train_loss", "val_loss", "val_CIDEr", "learning_rate", "gradient_norm"} <= row.keys()


def test_a_run_is_told_the_epochs_of_all_its_phases_and_again_where_one_was_stopped_early(monkeypatch):
    adapt = tiny.UNADAPTED | {"stop_epochs": 2}
    trainer = tiny.trainer(tiny.settings(train={"epochs": 4, "members": 2, "self_critical_epochs": 1, "adapt": adapt}))
    ciders = iter([0.3, 0.2, 0.1, 0.4, 0.3, 0.4, 0.5, 0.6, 0.7])
    monkeypatch.setattr(trainer.validation, "_cider", lambda own: next(ciders))
    run = tiny.Remembered()
    trainer.fit(run, None, StopRequest())
    assert [value for name, value in run.tags if name == EPOCHS_TAG] == ["10", "9", "9", "9"]
    assert max(run.rows) == 9


def test_the_attention_penalty_evens_out_attention():
    def unevenness(penalty: float) -> float:
        settings = tiny.settings(train={"epochs": 15, "attention_penalty": penalty}, model={"dropout": 0.0})
        trainer = fitted(tiny.trainer(settings))
        trainer.learner.teaching.coverage = True
        batch = replace(trainer.images.pack(np.arange(10)), grids=torch.from_numpy(tiny.grids(10)))
        with torch.no_grad():
            return float(trainer.learner.teaching(batch).coverage)

    assert unevenness(5.0) < 0.9 * unevenness(0.0)


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_is_trained_once_and_only_matrices_decay(tied):
    decoder = tiny.decoder(tied=tied)
    decayed, rest = parameter_groups(decoder, 0.1)
    trained = [id(parameter) for group in (decayed, rest) for parameter in group["params"]]
    assert sorted(trained) == sorted(id(parameter) for parameter in decoder.parameters())
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert all(parameter.ndim == 2 for parameter in decayed["params"])
    kept = {id(parameter) for parameter in rest["params"]}
    assert {id(decoder.row), id(decoder.vocab.bias), id(decoder.norm.weight)} <= kept
    assert (id(decoder.embedding.weight) in kept) is not tied


def test_bf16_trains_to_nearly_the_same_loss():
    losses = [
        fitted(tiny.trainer(tiny.settings(train={"precision": precision}, model={"dropout": 0.0}))).progress.history
        for precision in ("fp32", "bf16")
    ]
    assert losses[1][-1]["train_loss"] == pytest.approx(losses[0][-1]["train_loss"], rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can compute in fp16")
def test_fp16_without_a_gpu_is_refused():
    with pytest.raises(UserError, match=r"train\.precision is fp16, which needs a GPU"):
        tiny.trainer(tiny.settings(train={"precision": "fp16"}))


def test_fp16_gradients_that_no_scale_makes_numbers_end_the_run(monkeypatch):
    monkeypatch.setattr("src.training.trainer.refuse_without_gpu", lambda *_: None)
    trainer = tiny.trainer(tiny.settings(train={"precision": "fp16", "epochs": 4, "batch_images": 1}))
    trainer.learner.decoder.score.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(UserError, match=r"the last 10 gradients were no numbers.*precision=fp32"):
        fitted(trainer)


@pytest.mark.parametrize(("train", "val"), [(0, 3), (3, 0)])
def test_a_dataset_without_training_or_validation_images_is_refused(train, val):
    with pytest.raises(UserError, match=f"has {train} training and {val} validation images"):
        tiny.trainer(tiny.settings(), tiny.manifest(train, val))


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_saved(tmp_path):
    trainer = tiny.trainer(tiny.settings(train={"save_every_steps": 1}))
    folder = ResumeFolder(tmp_path, "run")
    with torch.no_grad():
        trainer.learner.decoder.vocab.bias[7] = float("nan")
    with pytest.raises(UserError, match=r"the loss is nan at step 0: lower train\.learning_rate"):
        trainer.fit(tiny.Remembered(), folder, StopRequest())
    assert folder.load() is None
    folder.close()


def spoilt(monkeypatch, trainer, steps):
    """Gradients that are infinite at some steps."""
    add_up = training.add_up

    def broken(parameters, group):
        add_up(parameters, group)
        if trainer.progress.step in steps:
            parameters[0].grad.fill_(float("inf"))

    monkeypatch.setattr(training, "add_up", broken)


def test_a_gradient_that_is_no_number_moves_nothing_and_the_run_goes_on(monkeypatch):
    trainer = tiny.trainer(tiny.settings(train={"epochs": 1}))
    run = tiny.Remembered()
    spoilt(monkeypatch, trainer, {1})
    trainer.fit(run, None, StopRequest())
    assert "left out 1 gradients that were no numbers" in run.events
    assert all(value.isfinite().all() for value in trainer.state().tensors.values())


def test_where_gradients_are_scaled_one_that_is_no_number_is_the_scalers_business(monkeypatch):
    trainer = tiny.trainer(tiny.settings(train={"epochs": 1}))
    trainer.scaler = torch.amp.GradScaler("cpu")
    run, scale = tiny.Remembered(), trainer.scaler.get_scale()
    spoilt(monkeypatch, trainer, {1})
    trainer.fit(run, None, StopRequest())
    assert trainer.scaler.get_scale() < scale
    assert not run.events
    assert all(value.isfinite().all() for value in trainer.state().tensors.values())


def test_gradients_that_stay_no_numbers_end_the_run_and_the_rate_of_the_phase_is_named(tmp_path, monkeypatch):
    train = {"save_every_steps": 1, "epochs": 1, "self_critical_epochs": 9, "self_critical_samples": 2}
    trainer = tiny.trainer(tiny.settings(train=train))
    folder = ResumeFolder(tmp_path, "run")
    spoilt(monkeypatch, trainer, range(4, 100))
    with pytest.raises(UserError, match=r"last 10 gradients were no numbers.*lower train\.self_critical_learning_rate"):
        trainer.fit(tiny.Remembered(), folder, StopRequest())
    state = folder.load()
    assert state is not None
    assert all(value.isfinite().all() for value in state.tensors.values())
    folder.close()
