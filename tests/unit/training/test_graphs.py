"""Replayed on a GPU, a step has the gradients that it has when its kernels are launched one by one."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
import torch

from src.models.fusion import as_written
from src.processes import Group
from src.training.batches import Batch
from src.training.stopping import StopRequest
from src.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
TRAIN = {"epochs": 3, "batch_images": 4}


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """Kernels as they are written: what compiling makes of them is tested elsewhere, and takes minutes."""
    monkeypatch.setattr("src.training.recurrent.fusing", lambda wanted, device: as_written)


def trainer(rnn: str, **train: object) -> Trainer:
    group = Group(0, 1, torch.device("cuda", 0))
    return tiny.trainer(tiny.settings(model={"rnn": rnn, "dropout": 0.3}, train={**TRAIN, **train}), group=group)


def gradients(trainer: Trainer, seed: int) -> list[torch.Tensor]:
    chosen = np.arange(4) + seed
    batch = trainer.images.pack(chosen).with_grids(torch.from_numpy(tiny.grids(13)[chosen])).to(trainer.group.device)
    trainer.progress.step = seed
    trainer.learner.teaching.train()
    nats, _ = trainer._backward(batch, chosen, *trainer.images.count(chosen))
    return [torch.tensor(nats), *(p.grad.clone() for p in trainer._learning())]


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_replayed_steps_have_the_gradients_of_launched_ones(rnn, precision):
    replaying = trainer(rnn, compile=True, precision=precision)
    launching = trainer(rnn, compile=True, precision=precision)
    launching.graphs = None
    for seed in (0, 1, 2, 0):
        for replayed, launched in zip(gradients(replaying, seed), gradients(launching, seed), strict=True):
            torch.testing.assert_close(replayed, launched, rtol=2e-2, atol=2e-3 * float(launched.abs().max()) + 1e-7)
    assert replaying.graphs._recorded


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_replayed_run_learns_what_a_launched_one_learns(precision):
    losses = []
    for compiled in (True, False):
        run = trainer("lstm", compile=compiled, precision=precision, epochs=6)
        run.fit(tiny.Remembered(), None, StopRequest())
        losses.append([row["train_loss"] for row in run.progress.history])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0][-1] < losses[0][0]


def test_the_next_batch_may_be_pinned_while_one_is_recorded(monkeypatch):
    """As `read_ahead` does in a thread of its own."""
    run = trainer("gru", compile=True)
    passed = run.graphs._pass

    def pinning(batch: Batch) -> torch.Tensor:
        nats = passed(batch)
        if torch.cuda.is_current_stream_capturing():
            with ThreadPoolExecutor(1) as reader:
                assert reader.submit(torch.empty(2**24).pin_memory).result().is_pinned()
        return nats

    monkeypatch.setattr(run.graphs, "_pass", pinning)
    gradients(run, 0)
    assert run.graphs._recorded


def test_running_out_of_memory_forgets_the_graphs_and_goes_on(monkeypatch):
    run = trainer("gru", compile=True)
    record = run.graphs._record
    left = [1]

    def full(batch: object) -> object:
        if left and left.pop():
            raise torch.OutOfMemoryError("full")
        return record(batch)

    monkeypatch.setattr(run.graphs, "_record", full)
    run.fit(tiny.Remembered(), None, StopRequest())
    assert run.progress.micro_batch == 2
    assert len(run.progress.history) == 3
