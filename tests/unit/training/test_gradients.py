"""One gradient out of many processes' parts, and averages of weights that are what they say they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from src.config import Settings
from src.data.manifest import Manifest
from src.processes import Group
from src.training.gradients import MovingAverage, add_up
from src.training.stopping import StopRequest


def test_an_average_is_its_formula():
    parameter = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    average, expected = MovingAverage([parameter], 0.5), parameter.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            parameter += step
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * parameter.detach()
        torch.testing.assert_close(average.values[0], expected)


def test_exchanging_twice_changes_nothing():
    decoder = tiny.decoder()
    average = MovingAverage(decoder.parameters(), 0.9)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += 1
    latest = [parameter.detach().clone() for parameter in decoder.parameters()]
    averaged = [value.clone() for value in average.values]
    average.swap()
    assert all(map(torch.equal, decoder.parameters(), averaged))
    assert all(map(torch.equal, average.values, latest))
    average.swap()
    assert all(map(torch.equal, decoder.parameters(), latest))
    assert all(map(torch.equal, average.values, averaged))


@pytest.mark.parametrize("better", ["latest", "average"])
def test_the_better_of_latest_and_averaged_weights_is_kept(monkeypatch, better):
    adapt = tiny.UNADAPTED | {"ema_decay": 0.9}
    trainer = tiny.trainer(tiny.settings(train={"epochs": 1, "learning_rate": 0.01, "adapt": adapt}))
    # The latest weights are measured first.
    ciders = iter({"latest": [0.4, 0.3], "average": [0.3, 0.4]}[better])
    measured: list[torch.Tensor] = []

    def scored(own: Any) -> float:
        measured.append(trainer.learner.decoder.vocab.weight.detach().clone())
        return next(ciders)

    monkeypatch.setattr(trainer.validation, "_cider", scored)
    trainer.fit(tiny.Remembered(), None, StopRequest())
    (row,) = trainer.progress.history
    assert row["val_CIDEr"] == trainer.progress.best_cider == 0.4
    assert (row["val_CIDEr_latest"], row["val_CIDEr_average"]) == ((0.4, 0.3) if better == "latest" else (0.3, 0.4))
    latest, averaged = measured
    assert not torch.equal(latest, averaged)
    assert torch.equal(trainer.best["decoder.vocab.weight"], latest if better == "latest" else averaged)
    assert torch.equal(trainer.learner.decoder.vocab.weight, latest)  # training goes on from the latest


def test_a_run_without_averages_measures_once(monkeypatch):
    trainer = tiny.trainer(tiny.settings(train={"epochs": 1}))
    ciders = iter([0.4])
    monkeypatch.setattr(trainer.validation, "_cider", lambda own: next(ciders))
    trainer.fit(tiny.Remembered(), None, StopRequest())
    assert "val_CIDEr_average" not in trainer.progress.history[0]


def added_up(group: Group) -> list[np.ndarray | None]:
    """The first process has a gradient for every parameter that learns, the second for none."""
    parameters = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(4))]
    parameters[1].requires_grad_(False)
    if group.is_main:
        parameters[0].grad = torch.arange(6.0).view(2, 3).T.contiguous().T  # laid out column by column
        parameters[2].grad = torch.full((4,), 7.0)
    add_up(parameters, group)
    return [None if parameter.grad is None else parameter.grad.numpy() for parameter in parameters]


def test_gradients_add_up_over_processes_though_one_has_none(ranks):
    for first, frozen, second in ranks(added_up):
        assert first.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
        assert frozen is None
        assert second.tolist() == [7.0] * 4


def test_a_process_alone_adds_up_nothing():
    parameter = nn.Parameter(torch.zeros(2))
    add_up([parameter], tiny.ALONE)
    assert parameter.grad is None


def noted(group: Group, settings: Settings, described: Manifest, sizes: tuple[int, int]) -> list[list[np.ndarray]]:
    """Every step's whole gradient, rank r computing `sizes[r]` images at once."""
    torch.set_num_threads(1)
    trainer = tiny.trainer(settings, described, group)
    trainer.progress.micro_batch = sizes[group.rank]
    found: list[list[np.ndarray]] = []
    optimise = trainer.optimiser.step

    def step(*arguments: Any) -> Any:
        found.append([parameter.grad.numpy().copy() for parameter in trainer.learner.decoder.parameters()])
        return optimise(*arguments)

    trainer.optimiser.step = step  # type: ignore[method-assign]
    trainer.fit(tiny.Remembered(), None, StopRequest())
    return found


def test_two_processes_with_micro_batches_of_their_own_have_the_gradient_of_one(ranks):
    settings = tiny.settings(
        model={"dropout": 0.0},
        train={"epochs": 1, "batch_images": 4, "precision": "fp32", "learning_rate": 1e-9, "attention_penalty": 0.5}
        | {"adapt": tiny.UNADAPTED},
    )
    described = tiny.manifest(train=9)  # a batch of one image leaves the second process without any
    first, second = ranks(noted, settings, described, (2, 1))
    alone = noted(tiny.ALONE, settings, described, (4, 4))
    assert len(alone) == 3
    for one, other, expected in zip(first, second, alone, strict=True):
        for mine, theirs, whole in zip(one, other, expected, strict=True):
            assert np.array_equal(mine, theirs)
            np.testing.assert_allclose(mine, whole, rtol=1e-5, atol=1e-6)


def test_the_average_starts_again_where_it_is_told_to():
    parameter = nn.Parameter(torch.zeros(2))
    average = MovingAverage([parameter], 0.9)
    with torch.no_grad():
        parameter += 3
    average.restart()
    assert torch.equal(average.values[0], parameter)
    with torch.no_grad():
        parameter += 1
    assert not torch.equal(average.values[0], parameter)
