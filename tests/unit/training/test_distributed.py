"""Two processes train as one does: every image once, one loss, one writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tiny
import torch

from src.config import Settings
from src.data.manifest import Manifest
from src.processes import Group
from src.training.resume import ResumeFolder

FIGURES = ("train_loss", "val_loss", "val_CIDEr", "gradient_norm")


@pytest.fixture(params=["lstm", "gru"])
def settings(request) -> Settings:
    return tiny.settings(
        model={"rnn": request.param, "dropout": 0.0}, train={"attention_penalty": 0.5, "save_every_steps": 2}
    )


@pytest.fixture
def described() -> Manifest:
    """Nine images in batches of four: the last batch leaves one process without an image."""
    return tiny.manifest(train=9, val=3)


def trained(
    group: Group,
    settings: Settings,
    described: Manifest,
    folder: Path | None = None,
    stop_after: dict[int, int] = {},  # noqa: B006 - read only
) -> dict[str, Any]:
    """What a process has at the end; `stop_after` is the step at which somebody stops one of the processes."""
    torch.set_num_threads(1)
    states = ResumeFolder(folder, "run") if folder and group.is_main else None
    trainer = tiny.trainer(settings, described, group)
    # One that says several words: CIDEr is 0 of one that has learnt nothing.
    trainer.learner.decoder.load_state_dict(tiny.decoder(settings.model.rnn).state_dict())
    state = group.from_main(states.load() if states else None)
    if state is not None:
        trainer.restore(state)
    stopped = ""
    try:
        trainer.fit(tiny.Remembered(), states, tiny.StopAfter(stop_after.get(group.rank, 10**9)))
    except SystemExit as error:
        stopped = type(error).__name__
    finally:
        if states:
            states.close()
    return {
        "stopped": stopped,
        "step": trainer.progress.step,
        "history": [[row[figure] for figure in FIGURES] for row in trainer.progress.history],
        "weights": {name: value.numpy() for name, value in trainer.learner.decoder.state_dict().items()},
    }


def test_two_processes_give_the_curves_and_weights_of_one(ranks, settings, described):
    first, second = ranks(trained, settings, described)
    alone = trained(tiny.ALONE, settings, described)
    assert first["history"] == second["history"]
    assert all(row[FIGURES.index("val_CIDEr")] > 0 for row in first["history"])
    np.testing.assert_allclose(first["history"], alone["history"], rtol=1e-5)
    for name, value in alone["weights"].items():
        assert np.array_equal(first["weights"][name], second["weights"][name]), name
        np.testing.assert_allclose(first["weights"][name], value, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("settings", ["lstm"], indirect=True)
def test_one_process_that_is_stopped_stops_both_and_they_go_on_to_the_same_weights(
    ranks, settings, described, tmp_path
):
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"dropout": 0.3})})
    whole = ranks(trained, settings, described)
    stopped = ranks(trained, settings, described, tmp_path, {1: 4})
    assert [(one["stopped"], one["step"]) for one in stopped] == [("Terminated", 4)] * 2
    resumed = ranks(trained, settings, described, tmp_path)
    for one, expected in zip(resumed, whole, strict=True):
        assert one["history"] == expected["history"]
        assert all(np.array_equal(one["weights"][name], value) for name, value in expected["weights"].items())


def trained_in_fp16(group: Group, settings: Settings, described: Manifest) -> tuple[list[int], list[float]]:
    """Images of a process in each batch of the first epoch, and its losses; a CPU's scaler does what a GPU's does."""
    with mock.patch("src.training.trainer.refuse_without_gpu"):
        trainer = tiny.trainer(settings, described, group)
        order = trainer.images.order(0, 4, settings.seed)
        trainer.fit(tiny.Remembered(), None, tiny.StopAfter(10**9))
    shares = [len(chosen[group.rank :: group.size]) for chosen in order]
    return shares, [row["train_loss"] for row in trainer.progress.history]


@pytest.mark.parametrize("settings", ["lstm"], indirect=True)
def test_a_process_whose_first_batch_has_no_image_for_it_scales_its_gradients_all_the_same(ranks, settings, described):
    train = settings.train.model_copy(update={"precision": "fp16"})
    (_, first), (shares, second) = ranks(
        trained_in_fp16, settings.model_copy(update={"train": train, "seed": 1}), described
    )
    assert shares == [0, 2, 2]
    assert first == second and first[-1] < first[0]


def drawn(group: Group, settings: Settings) -> dict[str, Any]:
    """The weights that a process begins with, which drew others than its peer."""
    trainer = tiny.trainer(settings.model_copy(update={"seed": group.rank}), group=group)
    return {name: value.numpy() for name, value in trainer.learner.decoder.state_dict().items()}


@pytest.mark.parametrize("settings", ["gru"], indirect=True)
def test_processes_begin_with_the_weights_of_the_first(ranks, settings):
    first, second = ranks(drawn, settings)
    expected = tiny.trainer(settings.model_copy(update={"seed": 0})).learner.decoder.state_dict()
    for name, value in expected.items():
        assert np.array_equal(first[name], value) and np.array_equal(second[name], value), name


def order_of(group: Group, settings: Settings, described: Manifest) -> list[int]:
    """The images that a process trains on in an epoch."""
    trainer, seen = tiny.trainer(settings, described, group), list[int]()
    step = trainer.step

    def noted(batch, *rest):
        seen.extend(batch.rows.tolist())
        return step(batch, *rest)

    trainer.step = noted  # type: ignore[method-assign]
    trainer.fit(tiny.Remembered(), None, tiny.StopAfter(10**9))
    return seen


@pytest.mark.parametrize("settings", ["gru"], indirect=True)
def test_an_image_with_all_its_captions_is_trained_on_by_one_process(ranks, settings, described):
    one_epoch = settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": 1})})
    first, second = ranks(order_of, one_epoch, described)
    assert sorted([*first, *second]) == list(range(9))
    assert abs(len(first) - len(second)) <= 3


@pytest.mark.parametrize("settings", ["gru"], indirect=True)
def test_only_the_first_process_holds_states(ranks, settings, described, tmp_path):
    ranks(trained, settings, described, tmp_path)
    states = ResumeFolder(tmp_path, "run")
    kept = states.load()
    assert kept is not None and kept.facts["progress"]["step"] == 6
    assert not states.warnings
    states.close()
