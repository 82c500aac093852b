"""Computing the decoder's steps again instead of keeping them saves memory and changes nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from src.models.recurrence import Trace
from src.training import objectives
from src.training.batches import Batch, CaptionedImages
from src.training.objectives import TeacherForcing
from src.training.stopping import StopRequest


@pytest.fixture
def batch() -> Batch:
    described = tiny.manifest(train=6)
    images = CaptionedImages(described.split("train"), described.rows("train"), tiny.vocabulary(), 20)
    packed = images.pack(np.arange(6))
    return replace(packed, grids=torch.from_numpy(tiny.grids(6)[packed.rows]))


@pytest.fixture(params=["lstm", "gru"])
def rnn(request) -> str:
    return request.param


def outcome(
    batch: Batch, rnn: str, checkpointing: bool, dropout: float = 0.0, sampling: float = 0.0, precision: str = "fp32"
) -> list[torch.Tensor]:
    """Both losses and every gradient."""
    decoder = tiny.decoder(rnn, dropout=dropout).train()
    teaching = TeacherForcing(decoder, 0.1, coverage=True, checkpointing=checkpointing, precision=precision)
    torch.manual_seed(3)
    losses = teaching(batch, sampling)
    (losses.nats + 0.7 * losses.coverage).backward()
    return [*(loss.detach() for loss in losses[:2]), *(parameter.grad for parameter in decoder.parameters())]


def test_losses_and_gradients_are_the_same(batch, rnn):
    for mine, expected in zip(outcome(batch, rnn, True), outcome(batch, rnn, False), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


def test_what_is_not_computed_again_is_not_read_again(batch, rnn):
    expected = outcome(batch, rnn, False)
    torch.use_deterministic_algorithms(True)  # memory that nobody has written is filled with what is no number
    try:
        found = outcome(batch, rnn, True)
    finally:
        torch.use_deterministic_algorithms(False)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_of_steps_that_are_computed_again_hidden_states_and_attention_are_kept(batch, rnn, monkeypatch):
    traces: list[Trace] = []

    class Noted(Trace):
        def __init__(self) -> None:
            super().__init__()
            traces.append(self)

    monkeypatch.setattr(objectives, "Trace", Noted)
    outcome(batch, rnn, True)
    decoder = tiny.decoder(rnn).config
    assert traces
    for trace in traces:
        assert [values.shape[-1] for values in trace.known] == [decoder.hidden_size, tiny.REGIONS]


def test_the_same_words_are_sampled(batch, rnn):
    for mine, expected in zip(
        outcome(batch, rnn, True, sampling=0.5), outcome(batch, rnn, False, sampling=0.5), strict=True
    ):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


def test_half_precision_gives_nearly_the_same(batch, rnn):
    mine, expected = (outcome(batch, rnn, checkpointing, precision="bf16") for checkpointing in (True, False))
    torch.testing.assert_close(mine[0], expected[0], rtol=1e-3, atol=0)
    for one, other in zip(mine[2:], expected[2:], strict=True):
        assert float((one - other).norm()) <= 0.02 * float(other.norm()) + 1e-3


def test_what_is_computed_again_drops_out_the_same(batch, rnn):
    """The gradient is that of the loss that came out: a small step along it lowers that loss as it foretells."""
    decoder = tiny.decoder(rnn, dropout=0.5).double().train()
    batch = replace(batch, grids=batch.grids.double())
    teaching = TeacherForcing(decoder, 0.1, coverage=True, checkpointing=True)

    def loss() -> torch.Tensor:
        torch.manual_seed(3)
        return sum(teaching(batch)[:2])

    first = loss()
    first.backward()
    squared = sum(float(parameter.grad.square().sum()) for parameter in decoder.parameters())
    length = 1e-6 / squared**0.5
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter -= length * parameter.grad
    assert float((first - loss()).detach()) == pytest.approx(length * squared, rel=1e-3)


def test_dropout_is_as_strong_as_without(batch, rnn):
    def mean(checkpointing: bool) -> float:
        teaching = TeacherForcing(tiny.decoder(rnn, dropout=0.5).train(), checkpointing=checkpointing)
        torch.manual_seed(0)
        return float(np.mean([float(teaching(batch).nats.detach()) for _ in range(60)]))

    assert mean(True) == pytest.approx(mean(False), rel=0.05)


def test_the_steps_fall_into_parts_of_one_size_the_last_of_which_is_not_computed_again(batch, monkeypatch):
    parts, kept = list[tuple[int, ...]](), objectives.checkpoint

    def noted(function: Any, *given: Any, **options: Any) -> Any:
        parts.append(given[3])
        return kept(function, *given, **options)

    monkeypatch.setattr(objectives, "checkpoint", noted)
    outcome(batch, "lstm", True)
    again = [count for part in parts for count in part]
    last = batch.active[len(again) :]
    assert again == list(batch.active[: len(again)]) and last
    several = math.ceil(objectives.PARTS * math.sqrt(len(batch.active)))
    assert 2 <= len(parts) + 1 <= several
    assert all(sum(part) < sum(batch.active) / several + max(part) for part in [*parts, last])


def test_less_is_kept_for_the_backward_pass(batch):
    def kept(checkpointing: bool) -> int:
        stored: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        decoder = tiny.decoder().train()
        parameters = {parameter.untyped_storage().data_ptr() for parameter in decoder.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = TeacherForcing(decoder, checkpointing=checkpointing)(batch)
        assert losses.nats.requires_grad
        return sum(size for address, size in stored.items() if address not in parameters)

    assert kept(True) < 0.5 * kept(False)


def test_a_run_comes_to_the_same_figures():
    base = tiny.settings().train.model_dump()
    histories = []
    for checkpointing in (True, False):
        trainer = tiny.trainer(
            tiny.settings(model={"dropout": 0.0}, train=base | {"gradient_checkpointing": checkpointing})
        )
        trainer.fit(tiny.Remembered(), None, StopRequest())
        histories.append(trainer.progress.history)
    for mine, expected in zip(*histories, strict=True):
        for figure in ("train_loss", "val_loss", "val_CIDEr"):
            assert mine[figure] == pytest.approx(expected[figure], rel=1e-4)
