"""However many images are computed at once, the step is the same; what does not fit is divided, and the run goes on."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import tiny
import torch

from src.config import Settings
from src.errors import UserError
from src.models.fusion import as_written
from src.processes import Group
from src.training.batches import Batch
from src.training.recurrent import RecurrentLearner
from src.training.resume import ResumeFolder
from src.training.stopping import StopRequest
from src.training.trainer import Trainer


@pytest.fixture(params=["lstm", "gru"])
def rnn(request) -> str:
    return request.param


def settings(micro_batch_images: int | None = None, rnn: str = "lstm", **train: Any) -> Settings:
    base = tiny.settings().train.model_dump() | {"attention_penalty": 0.5, "micro_batch_images": micro_batch_images}
    return tiny.settings(model=tiny.settings().model.model_dump() | {"rnn": rnn, "dropout": 0.0}, train=base | train)


def fitted(trainer: Trainer, run: tiny.Remembered | None = None) -> Trainer:
    trainer.fit(run or tiny.Remembered(), None, StopRequest())
    return trainer


def first_gradients(trainer: Trainer) -> list[torch.Tensor]:
    with pytest.raises(SystemExit):
        trainer.fit(tiny.Remembered(), None, tiny.StopAfter(1))
    return [parameter.grad for parameter in trainer.learner.decoder.parameters()]


def with_room_for(images: int, trainer: Trainer, calls: int = 0) -> list[int]:
    """A GPU that holds so many images, after `calls` batches that it held all the same. Returns what it was given."""
    forward, given = trainer.learner.teaching.forward, list[int]()

    def limited(batch: Batch, *rest: Any) -> Any:
        given.append(len(batch.rows))
        assert len(given) < 100, "it tries the same again for ever"
        if len(given) > calls and len(batch.rows) > images:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(batch, *rest)

    trainer.learner.teaching.forward = limited  # type: ignore[method-assign]
    return given


def assert_same_weights(trainer: Trainer, expected: Trainer) -> None:
    for name, value in expected.learner.decoder.state_dict().items():
        torch.testing.assert_close(trainer.learner.decoder.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_the_gradient_of_a_step_does_not_depend_on_how_its_images_are_divided(rnn, size):
    whole = first_gradients(tiny.trainer(settings(rnn=rnn)))
    divided = first_gradients(tiny.trainer(settings(size, rnn)))
    for mine, expected in zip(divided, whole, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_a_run_in_micro_batches_ends_where_one_in_whole_batches_does(size):
    whole, divided = fitted(tiny.trainer(settings())), fitted(tiny.trainer(settings(size)))
    assert_same_weights(divided, whole)
    for row, expected in zip(divided.progress.history, whole.progress.history, strict=True):
        for figure in ("train_loss", "gradient_norm", "val_loss"):
            assert row[figure] == pytest.approx(expected[figure], rel=1e-5)


def test_no_more_images_than_asked_for_are_computed_at_once():
    trainer = tiny.trainer(settings(3))
    given = with_room_for(100, trainer)
    first_gradients(trainer)
    assert sorted(given) == [1, 3]


@pytest.mark.parametrize("calls", [0, 2], ids=["at once", "in the second part of a later batch"])
def test_memory_that_runs_out_divides_the_batch_and_changes_nothing_else(calls):
    run = tiny.Remembered()
    trainer = tiny.trainer(settings(2 if calls else None))
    with_room_for(1, trainer, calls)
    fitted(trainer, run)
    assert_same_weights(trainer, fitted(tiny.trainer(settings())))
    halvings = [text for text in run.events if text.startswith("GPU memory ran out")]
    assert halvings[-1] == "GPU memory ran out: 1 images at once instead of 2, in the same batch"
    assert len(halvings) == (1 if calls else 2)


def test_a_batch_smaller_than_the_allowed_size_is_halved_itself():
    run = tiny.Remembered()
    trainer = tiny.trainer(settings(64))
    given = with_room_for(2, trainer)
    with pytest.raises(SystemExit):
        trainer.fit(run, None, tiny.StopAfter(1))
    assert given == [4, 2, 2]
    assert run.events == ["GPU memory ran out: 2 images at once instead of 4, in the same batch"]


def test_what_filled_the_memory_is_gone_when_it_is_given_back(monkeypatch):
    trainer = tiny.trainer(settings())
    forward, halve = trainer.learner.teaching.forward, trainer._halve
    filling, left = list[weakref.ref[torch.Tensor]](), list[bool]()

    def full(batch: Batch, *rest: Any) -> Any:
        losses = forward(batch, *rest)
        if not filling:
            filling.append(weakref.ref(losses.nats))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return losses

    def noted(*arguments: Any) -> None:
        left.append(filling[0]() is not None)
        halve(*arguments)

    monkeypatch.setattr(trainer.learner.teaching, "forward", full)
    monkeypatch.setattr(trainer, "_halve", noted)
    first_gradients(trainer)
    assert left == [False]


def test_one_image_too_much_is_an_error_with_a_way_out():
    trainer = tiny.trainer(settings())
    with_room_for(0, trainer)
    with pytest.raises(UserError, match=r"one image is too much .* train\.gradient_checkpointing=true"):
        fitted(trainer)


@pytest.mark.parametrize("room", [1, 2])
def test_validation_measures_the_same_where_its_images_do_not_fit(room, capsys):
    trainer = tiny.trainer(settings())
    learner = trainer.learner
    expected = trainer.validation.measure(learner.teaching, learner.read)
    given = with_room_for(room, trainer)
    for _ in range(2):
        assert trainer.validation.measure(learner.teaching, learner.read) == pytest.approx(expected, rel=1e-5)
    assert given == ([3, 2, 1, 2, 1] if room == 2 else [3, 2, *[1] * 6])
    assert "GPU memory ran out: 2 images at once instead of 3" in capsys.readouterr().out
    with_room_for(0, trainer)
    with pytest.raises(UserError, match="one image is too much"):
        trainer.validation.measure(learner.teaching, learner.read)


@pytest.fixture
def folder(tmp_path) -> Iterator[ResumeFolder]:
    folder = ResumeFolder(tmp_path, "run")
    yield folder
    folder.close()


def test_a_resumed_run_remembers_what_fits(folder):
    trainer = tiny.trainer(settings())
    with_room_for(2, trainer)
    with pytest.raises(SystemExit):
        trainer.fit(tiny.Remembered(), folder, tiny.StopAfter(1))
    again, run = tiny.trainer(settings()), tiny.Remembered()
    again.restore(folder.load())
    given = with_room_for(2, again)
    with pytest.raises(SystemExit):
        again.fit(run, folder, tiny.StopAfter(1))
    assert max(given) == 2
    assert len(run.events) == 1  # of the first attempt: told to the run again, in case it never arrived


def short_of_memory(group: Any, chosen: Settings) -> tuple[list[dict[str, float]], int | None]:
    """Only the second process' memory is short."""
    torch.set_num_threads(1)
    trainer = tiny.trainer(chosen, group=group)
    if not group.is_main:
        with_room_for(1, trainer)
    fitted(trainer)
    return trainer.progress.history, trainer.progress.micro_batch


def test_a_process_whose_memory_runs_out_does_not_hold_up_the_others(ranks):
    (first, untouched), (second, halved) = ranks(short_of_memory, settings())
    assert (untouched, halved) == (None, 1)
    alone = fitted(tiny.trainer(settings())).progress.history
    for mine, theirs, expected in zip(first, second, alone, strict=True):
        assert mine["train_loss"] == theirs["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)


def test_a_process_other_than_the_first_says_itself_that_its_memory_ran_out(capsys):
    trainer = tiny.trainer(settings())
    trainer.group = type(trainer.group)(1, 2, trainer.group.device)
    trainer._halve(4, tiny.Remembered())
    assert "process 1: GPU memory ran out: 2 images at once instead of 4" in capsys.readouterr().out


@pytest.mark.parametrize(("changes", "few"), [({}, True), ({"micro_batch_images": 2}, False)])
def test_batches_that_are_parted_are_not_said_to_be_replayed_whole(monkeypatch, changes, few):
    monkeypatch.setattr("src.training.recurrent.fusing", lambda *_: as_written)
    monkeypatch.setattr("src.training.recurrent.grid_reader", lambda *_: (None, "nothing is read"))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, _: self)
    group = Group(0, 1, torch.device("cuda"))  # asked for its name alone
    settings = tiny.settings(train={"compile": True, **changes})
    learner = RecurrentLearner(settings, tiny.manifest(), tiny.vocabulary(), tiny.grids(13), tiny.decoder(), group)
    assert (learner.few_shapes, "CUDA graphs" in learner.kernels) == (few, few)
