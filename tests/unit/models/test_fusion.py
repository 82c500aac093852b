"""Fused kernels compute what the functions they were made of compute."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from src.errors import UserError
from src.models import native
from src.models.fusion import as_written, fused, fusing
from src.training.batches import pack
from src.training.objectives import TeacherForcing

CPU = torch.device("cpu")


@pytest.mark.parametrize(("rnn", "checkpointing"), [("lstm", False), ("gru", False), ("lstm", True)])
def test_fused_steps_have_the_loss_and_the_gradients_of_the_written_ones(rnn, checkpointing, monkeypatch):
    monkeypatch.setattr(native, "serves", lambda *_: False)
    decoder = tiny.decoder(rnn)
    captions = [[[4, 5, 6, 7, 8], [5, 6, 4], [9]], [[7, 4, 4, 5], [8, 9], [5]]]
    grids = torch.from_numpy(tiny.grids(2))
    batch = pack(captions, np.arange(2)).with_grids(grids)

    def outcome() -> list[Tensor]:
        losses = TeacherForcing(decoder, 0.1, coverage=True, checkpointing=checkpointing).train()(batch)
        return [*losses[:2], *torch.autograd.grad(losses.nats + losses.coverage, list(decoder.parameters()))]

    written = outcome()
    decoder.fuse = fused
    torch.testing.assert_close(outcome(), written, rtol=2e-4, atol=2e-5)


def test_without_a_compiler_it_is_an_error_that_names_the_parameter(monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("no working C++ compiler found\nand three screens of details")

    monkeypatch.setattr(torch, "compile", missing)
    monkeypatch.setattr(native, "ready", lambda: False)
    with pytest.raises(UserError, match=r"no working C\+\+ compiler found\).*-S train.compile=false"):
        fusing(True, CPU)


def test_where_fusing_is_not_asked_for_nothing_is_compiled(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    assert fusing(False, CPU) is as_written


def test_where_a_decoder_runs_in_c_nothing_is_left_to_fuse(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    monkeypatch.setattr(native, "ready", lambda: True)
    assert fusing(True, CPU) is as_written
