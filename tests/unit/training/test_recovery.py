"""Interrupted anywhere and taken up again, a run comes to the same weights, bit by bit."""

from __future__ import annotations

import dataclasses
import signal
import time

import pytest
import tiny
import torch

from src.config import Settings
from src.processes import Group
from src.training.recovery import held, restored
from src.training.resume import ResumeFolder, SavedState
from src.training.stopping import StopRequest
from src.training.trainer import Trainer

STEPS = 6
TIMES = ("seconds", "per_second", "wait_share", "percent", "MiB")


class Crash(Exception):
    pass


@pytest.fixture
def folder(tmp_path):
    folder = ResumeFolder(tmp_path, "run")
    yield folder
    folder.close()


@pytest.fixture(
    params=[("lstm", False, {}), ("gru", True, {}), ("lstm", True, {"epochs": 1, "members": 2})],
    ids=["lstm", "gru", "ensemble"],
    scope="module",
)
def settings(request) -> Settings:
    rnn, tied, train = request.param
    return tiny.settings(model={"rnn": rnn, "tied_embeddings": tied}, train={"save_every_steps": 1} | train)


@pytest.fixture(scope="module")
def uninterrupted(settings) -> Trainer:
    trainer = tiny.trainer(settings)
    trainer.fit(tiny.Remembered(), None, StopRequest())
    assert trainer.progress.step == STEPS
    return trainer


def outcome(trainer: Trainer) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Weights, moments and best weights; what was measured, without how long it took."""
    measured = [
        {name: value for name, value in row.items() if not any(time in name for time in TIMES)}
        for row in trainer.progress.history
    ]
    return dict(trainer.state().tensors), measured


def assert_same(trainer: Trainer, expected: Trainer) -> None:
    tensors, measured = outcome(trainer)
    expected_tensors, expected_measured = outcome(expected)
    assert measured == expected_measured
    assert tensors.keys() == expected_tensors.keys()
    for name, value in expected_tensors.items():
        assert torch.equal(tensors[name], value), name


def finished(settings: Settings, folder: ResumeFolder, run: tiny.Remembered | None = None) -> Trainer:
    """A new process goes on from what the folder holds."""
    trainer = tiny.trainer(settings)
    state = folder.load()
    if state is not None:
        trainer.restore(state)
    torch.manual_seed(999)  # whatever else draws random numbers must not matter
    trainer.fit(run or tiny.Remembered(), folder, StopRequest())
    return trainer


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_stopped_after_any_step_it_goes_on_as_if_nothing_had_happened(settings, uninterrupted, folder, step):
    stopped = tiny.trainer(settings)
    with pytest.raises(SystemExit):
        stopped.fit(tiny.Remembered(), folder, tiny.StopAfter(step))
    assert stopped.progress.step == step
    assert_same(finished(settings, folder), uninterrupted)


@pytest.mark.parametrize("save", range(1, STEPS + 1))
def test_crashed_before_any_save_it_goes_on_from_the_one_before(settings, uninterrupted, folder, monkeypatch, save):
    original, left = folder.save, [save]

    def crash(step: int, state: SavedState) -> None:
        left[0] -= 1
        if not left[0]:
            raise Crash
        original(step, state)

    with monkeypatch.context() as broken, pytest.raises(Crash):
        broken.setattr(folder, "save", crash)
        tiny.trainer(settings).fit(tiny.Remembered(), folder, StopRequest())
    assert_same(finished(settings, folder), uninterrupted)


def test_interrupted_again_and_again_it_arrives_all_the_same(settings, uninterrupted, folder):
    for _ in range(STEPS - 1):
        trainer = tiny.trainer(settings)
        state = folder.load()
        if state is not None:
            trainer.restore(state)
        with pytest.raises(SystemExit):
            trainer.fit(tiny.Remembered(), folder, tiny.StopAfter(1))
    assert_same(finished(settings, folder), uninterrupted)


def test_an_epoch_that_was_saved_but_not_logged_is_logged_after_the_crash(settings, uninterrupted, folder):
    class Unreachable(tiny.Remembered):
        def log(self, step, values):
            raise Crash

    with pytest.raises(Crash):
        tiny.trainer(settings).fit(Unreachable(), folder, StopRequest())
    run = tiny.Remembered()
    finished(settings, folder, run)
    assert list(run.rows) == [1, 2]
    assert run.rows[1]["val_CIDEr"] == uninterrupted.progress.history[0]["val_CIDEr"]


def test_members_that_are_rewarded_keep_those_before_them(folder):
    rewarded = {"epochs": 1, "members": 2, "self_critical_epochs": 1, "self_critical_samples": 2}
    settings = tiny.settings(train={"save_every_steps": 1} | rewarded)
    whole = tiny.trainer(settings)
    whole.fit(tiny.Remembered(), None, StopRequest())
    stopped = tiny.trainer(settings)
    with pytest.raises(SystemExit):
        stopped.fit(tiny.Remembered(), folder, tiny.StopAfter(whole.progress.step - 1))
    assert stopped.phase == (stopped.phases[-1])
    assert_same(finished(settings, folder), whole)


def test_asked_to_stop_as_the_last_epoch_is_validated_it_ends_with_its_state(
    settings, uninterrupted, folder, monkeypatch
):
    stop, validate = StopRequest(), Trainer._validate

    def asked(trainer: Trainer) -> dict[str, float]:
        if trainer.progress.step == STEPS:
            stop.signal = signal.SIGINT
        return validate(trainer)

    with monkeypatch.context() as changed, pytest.raises(KeyboardInterrupt):
        changed.setattr(Trainer, "_validate", asked)
        tiny.trainer(settings).fit(tiny.Remembered(), folder, stop)
    monkeypatch.setattr(Trainer, "step", None)
    assert_same(finished(settings, folder), uninterrupted)


def test_an_epoch_that_was_interrupted_took_the_time_of_all_its_attempts(settings, folder, monkeypatch):
    with monkeypatch.context() as broken, pytest.raises(Crash):
        broken.setattr(Trainer, "_validate", lambda trainer: (_ for _ in ()).throw(Crash))
        stopped = tiny.trainer(settings)
        stopped.fit(tiny.Remembered(), folder, StopRequest())
    before = stopped.progress
    row = finished(settings, folder).progress.history[0]
    assert row["seconds"] >= before.seconds > 0
    assert row["captions_per_second"] == pytest.approx(before.captions / row["seconds"])
    assert row["images_per_second"] == pytest.approx(before.images / row["seconds"])


def test_the_few_steps_that_a_restart_left_of_an_epoch_do_not_tell_how_long_it_waited_for_data(settings, folder):
    with pytest.raises(SystemExit):
        tiny.trainer(settings).fit(tiny.Remembered(), folder, tiny.StopAfter(STEPS // 2 - 1))
    resumed, run = tiny.trainer(settings), tiny.Remembered()
    restored(resumed, folder, tiny.ALONE)
    resumed.progress.seconds, read = 1000.0, resumed.learner.read

    def slowly(*arguments):
        time.sleep(0.5)
        return read(*arguments)

    resumed.learner.read = slowly
    resumed.fit(run, folder, StopRequest())
    assert run.rows[1]["wait_share"] < 0.01
    assert not [event for event in run.events if "waited for data" in event]


def test_a_finished_run_has_nothing_left_to_do(settings, uninterrupted, folder, monkeypatch):
    first = finished(settings, folder)
    monkeypatch.setattr(Trainer, "step", None)
    again = finished(settings, folder)
    assert_same(again, first)


def test_states_that_other_settings_left_are_told_of_with_their_size(tmp_path, capsys):
    for name, size in (("train-1", 3), ("train-2", 0), ("train-deep-1", 5), ("embed-1", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state-000000001.safetensors").write_bytes(b"x" * size * 2**20)
    with held(tmp_path, "train-2", tiny.ALONE), held(tmp_path, "train-3", tiny.ALONE):
        pass
    told = (
        f"{tmp_path / 'train-1'} was left unfinished with other settings (3 MiB): delete it unless you go back to them"
    )
    assert capsys.readouterr().out.splitlines() == [told] * 2
    with held(tmp_path, "train-1", Group(1, 2, torch.device("cpu"))):
        pass
    assert not capsys.readouterr().out


def test_a_state_is_all_of_a_trainer(settings, uninterrupted):
    other = tiny.trainer(settings.model_copy(update={"seed": 5}))
    other.restore(uninterrupted.state())
    assert_same(other, uninterrupted)
    assert dataclasses.asdict(other.progress) == dataclasses.asdict(uninterrupted.progress)
