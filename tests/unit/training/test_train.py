"""A training run from prepared files to a captioner: one MLflow run, recoverable at any moment, one writer."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file

from src.config import Decode, Settings
from src.data.vocabulary import VOCABULARY_FILE
from src.decoding.describe import describe
from src.encoders import cache
from src.encoders.encoder import Provenance, digest
from src.errors import UserError
from src.files import write_json
from src.metrics.cider import CiderScorer
from src.models.captioner import Captioner
from src.models.decoder import Decoder
from src.models.ensemble import Ensemble
from src.models.expectation import Expectation
from src.places import Places
from src.processes import Group
from src.training import train as training
from src.training.progress import Progress
from src.training.resume import ResumeFolder
from src.training.stopping import StopRequest
from src.training.train import train

GREEDY = Decode(beam_size=1, max_words=7)
PROVENANCE = Provenance(
    encoder="efficientnet_lite0",
    weights=digest({"weight": torch.ones(1)}),
    layer="head",
    image_size=224,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    resize="squash",
    precision="bf16",
    rows=tiny.ROWS,
    columns=tiny.COLUMNS,
    features=tiny.FEATURES,
)


class Recorded(tiny.Remembered):
    """One MLflow run, with all that was said to it."""

    def __init__(self) -> None:
        super().__init__()
        self.summaries: dict[str, float] = {}
        self.kept: list[str] = []

    def summary(self, values: Any) -> None:  # type: ignore[override]
        self.summaries |= values

    def artifact(self, path: Path, folder: str = "") -> None:  # type: ignore[override]
        self.kept.append(folder)

    def table(self, rows: Any, name: str) -> None:  # type: ignore[override]
        self.kept.append(name)


class Tracking:
    """In MLflow's place: remembers which runs were begun and which were gone on with."""

    def __init__(self) -> None:
        self.recorded = Recorded()
        self.resumed: list[str | None] = []
        self.hashes: dict[str, str] = {}
        self.ended: list[str] = []

    @contextmanager
    def run(self, kind: str, *, resume: str | None, hashes: dict[str, str], **facts: Any) -> Iterator[Recorded]:
        self.resumed.append(resume)
        self.hashes = hashes
        yield self.recorded
        self.ended.append(resume or self.recorded.id)


@dataclasses.dataclass
class Workplace:
    places: Places
    resume: Path
    tracking: Tracking
    monkeypatch: pytest.MonkeyPatch

    def train(self, settings: Settings, stop_after: int | None = None) -> None:
        @contextmanager
        def requests() -> Iterator[StopRequest]:
            yield StopRequest() if stop_after is None else tiny.StopAfter(stop_after)

        with self.monkeypatch.context() as patched:
            patched.setattr(training, "stop_requests", requests)
            train(settings, self.places, self.resume, tiny.ALONE)

    def captioner(self) -> Captioner:
        return Captioner.load(self.places.model, with_encoder=False)

    def states(self) -> list[Path]:
        return sorted(self.resume.glob("train-*/state-*"))


def prepared(folder: Path) -> Places:
    """What the stages before leave: manifest, vocabulary and cache, without photographs or a CNN."""
    places = Places(*(folder / name for name in ("dataset", "embeddings", "model", "train.json", "curves.csv")))
    described = tiny.manifest()
    described.save(places.dataset)
    tiny.vocabulary().save(places.dataset / VOCABULARY_FILE)
    places.embeddings.mkdir()
    np.save(places.embeddings / cache.GRIDS_FILE, tiny.grids(len(described)))
    save_file({"weight": torch.ones(1)}, places.embeddings / cache.WEIGHTS_FILE)
    write_json(places.embeddings / cache.INDEX_FILE, [image.name for image in described.images])
    write_json(places.embeddings / cache.PROVENANCE_FILE, PROVENANCE.to_json())
    return places


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Workplace:
    tracking = Tracking()
    monkeypatch.setattr(training.tracking, "run", tracking.run)
    monkeypatch.setattr(Decoder, "_initialise", tiny.moved)  # such decoders say enough for a CIDEr above 0
    return Workplace(prepared(tmp_path), tmp_path / "resume", tracking, monkeypatch)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return tiny.settings(train={"save_every_steps": 2})


def test_a_finished_run_leaves_a_captioner_its_report_and_no_state(workplace, settings):
    workplace.train(settings)
    captioner = workplace.captioner()
    report = json.loads(workplace.places.training.read_text())
    assert (report["model"], report["digest"], report["run_id"]) == ("LSTM", captioner.digest(), "run-1")
    assert report["epochs"] == 2 and report["val_CIDEr"] == captioner.origin["val_CIDEr"] > 0
    assert captioner.provenance == PROVENANCE and captioner.decode == settings.decode
    assert captioner.vocabulary == tiny.vocabulary()
    assert not workplace.states()


def test_several_decoders_learn_one_after_the_other_and_speak_as_one(workplace, settings):
    settings = settings.model_copy(update={"seed": 1})  # of which the three together say something
    workplace.train(settings)
    alone = workplace.captioner()
    several = settings.model_copy(update={"train": settings.train.model_copy(update={"members": 3})})
    workplace.train(several)
    captioner, report = workplace.captioner(), json.loads(workplace.places.training.read_text())
    rows = workplace.tracking.recorded.rows
    assert isinstance(captioner.decoder, Ensemble) and len(rows) == report["epochs"] == 6
    members = [dict(member.state_dict()) for member in captioner.decoder.members]
    assert all(torch.equal(members[0][name], value) for name, value in alone.decoder.state_dict().items())
    assert not torch.equal(members[1]["vocab.weight"], members[2]["vocab.weight"])
    best = [max(rows[epoch]["val_CIDEr"] for epoch in (first, first + 1)) for first in (1, 3, 5)]
    assert report["mean_member_val_CIDEr"] == pytest.approx(sum(best) / 3)
    assert [rows[epoch]["learning_rate"] for epoch in (3, 4)] == [rows[epoch]["learning_rate"] for epoch in (1, 2)]
    described = tiny.manifest()
    held_out, grids = described.split("val"), torch.from_numpy(tiny.grids(len(described))[described.rows("val")])
    said = [found[0].words for found in describe(captioner.decoder, tiny.vocabulary(), grids, GREEDY)]
    cider = CiderScorer([image.words for image in held_out]).score(said).mean()
    assert report["val_CIDEr"] == captioner.origin["val_CIDEr"] == pytest.approx(float(cider), abs=1e-6)
    assert cider > 0 and sum(best) > 0


def test_captions_may_be_chosen_by_what_is_expected_without_training_again(workplace, settings):
    workplace.train(settings)
    captioner = workplace.captioner()
    grids = torch.from_numpy(tiny.grids(5))
    search = Decode(beam_size=4, max_words=7, rerank="expected", rerank_weight=100.0)
    found = describe(captioner.decoder, captioner.vocabulary, grids, search, captioner.expectation)
    ids = [[captioner.vocabulary.encode(caption.words) for caption in own] for own in found]
    assert captioner.expectation is not None
    told = captioner.expectation.cider(grids, ids)
    assert all(own[0] >= max(own) - 0.1 for own in told) and any(max(own) > min(own) for own in told)


def test_what_is_expected_is_worked_out_where_the_decoder_is(workplace, settings, monkeypatch):
    moved = []
    monkeypatch.setattr(Expectation, "to", lambda self, device: moved.append(device) or self)
    workplace.train(settings)
    assert moved == [tiny.ALONE.device]  # the examples are told with it before anything is loaded again


def test_its_run_has_curves_figures_inputs_model_and_examples(workplace, settings):
    workplace.train(settings)
    recorded = workplace.tracking.recorded
    assert sorted(recorded.rows) == [1, 2]
    assert recorded.summaries["best_val_CIDEr"] == max(row["val_CIDEr"] for row in recorded.rows.values()) > 0
    assert recorded.kept == ["model", "examples.json"]
    assert workplace.tracking.hashes.keys() == {"dataset", "embeddings"}


def test_a_stopped_run_goes_on_in_the_same_mlflow_run_to_the_same_weights(workplace, settings):
    workplace.train(settings)
    expected = workplace.captioner().digest()
    with pytest.raises(SystemExit):
        workplace.train(settings, stop_after=4)
    assert workplace.states()
    workplace.train(settings)
    assert workplace.captioner().digest() == expected
    assert workplace.tracking.resumed == [None, None, "run-1"]
    assert "resumed at step 4 of 6" in workplace.tracking.recorded.events
    assert workplace.tracking.recorded.places["resumed at step 4 of 6"] == 1
    assert not workplace.states()


def test_a_crash_while_the_captioner_is_written_costs_no_training(workplace, settings, monkeypatch):
    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="full"):
        broken.setattr(Captioner, "save", fail)
        workplace.train(settings)
    workplace.train(settings)
    assert "resumed at step 6 of 6" in workplace.tracking.recorded.events
    assert workplace.captioner()


def test_asked_to_stop_while_the_captioner_is_written_it_ends_with_its_states(workplace, settings, monkeypatch):
    stop, save = StopRequest(), Captioner.save

    @contextmanager
    def requests() -> Iterator[StopRequest]:
        yield stop

    def asked(*arguments: Any) -> None:
        stop.signal = signal.SIGINT
        save(*arguments)

    with monkeypatch.context() as changed, pytest.raises(KeyboardInterrupt):
        changed.setattr(Captioner, "save", asked)
        changed.setattr(training, "stop_requests", requests)
        train(settings, workplace.places, workplace.resume, tiny.ALONE)
    assert workplace.states()
    workplace.train(settings)
    assert "resumed at step 6 of 6" in workplace.tracking.recorded.events
    assert not workplace.states()


def test_killed_between_the_end_of_its_mlflow_run_and_of_its_states_it_ends_the_same_run_again(
    workplace, settings, monkeypatch
):
    def killed(folder: ResumeFolder) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as broken, pytest.raises(SystemExit):
        broken.setattr(ResumeFolder, "remove", killed)
        workplace.train(settings)
    assert workplace.tracking.ended == ["run-1"]
    workplace.train(settings)
    assert workplace.tracking.ended == ["run-1", "run-1"]


def test_a_changed_parameter_begins_anew(workplace, settings):
    with pytest.raises(SystemExit):
        workplace.train(settings, stop_after=4)
    for other in ({"model": {"rnn": "gru"}}, {"train": {"learning_rate": 0.5}}):
        with pytest.raises(SystemExit):
            workplace.train(tiny.settings(**other), stop_after=1)
    assert workplace.tracking.resumed == [None] * 3
    assert not workplace.tracking.recorded.events


def test_parameters_that_do_not_matter_to_the_weights_do_not_begin_anew(workplace, settings):
    with pytest.raises(SystemExit):
        workplace.train(settings, stop_after=4)
    workplace.train(settings.model_copy(update={"decode": settings.decode.model_copy(update={"beam_size": 5})}))
    assert workplace.tracking.resumed == [None, "run-1"]
    assert workplace.captioner().decode.beam_size == 5


def test_a_state_that_means_something_else_is_not_gone_on_from(workplace, settings, monkeypatch):
    with pytest.raises(SystemExit):
        workplace.train(settings, stop_after=4)
    layout = Progress.layout()
    assert {"micro_batch", "norms"} <= set(layout)  # of the run itself and of its controller
    monkeypatch.setattr(Progress, "layout", classmethod(lambda cls: [*layout, "something new"]))
    workplace.train(settings)
    assert workplace.tracking.resumed == [None, None]


def test_changed_inputs_begin_anew(workplace, settings):
    with pytest.raises(SystemExit):
        workplace.train(settings, stop_after=4)
    path = workplace.places.embeddings / cache.PROVENANCE_FILE
    path.write_text(path.read_text().replace("squash", "crop"))
    workplace.train(settings)
    assert workplace.tracking.resumed == [None, None]


def test_a_damaged_state_is_told_and_the_one_before_it_used(workplace, settings):
    workplace.train(settings)
    expected = workplace.captioner().digest()
    with pytest.raises(SystemExit):
        workplace.train(settings, stop_after=5)
    workplace.states()[-1].write_bytes(b"half")
    workplace.train(settings)
    events = workplace.tracking.recorded.events
    assert [event for event in events if "is damaged" in event] and "resumed at step 4 of 6" in events
    assert workplace.captioner().digest() == expected


def test_an_identical_run_at_the_same_time_is_refused(workplace, settings, monkeypatch):
    fit = training.Trainer.fit

    def second_in_between(*arguments: Any) -> None:
        with pytest.raises(UserError, match="identical run is at work"):
            train(settings, workplace.places, workplace.resume, tiny.ALONE)
        fit(*arguments)

    monkeypatch.setattr(training.Trainer, "fit", second_in_between)
    workplace.train(settings)
    assert workplace.captioner()


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("dataset/manifest.jsonl", "dvc repro prepare"),
        ("dataset/vocabulary.json", "dvc repro prepare"),
        ("embeddings/provenance.json", "dvc repro embed"),
    ],
)
def test_an_input_that_is_missing_says_how_to_make_it(workplace, settings, missing, told):
    (workplace.places.dataset.parent / missing).unlink()
    with pytest.raises(UserError, match=told):
        workplace.train(settings)


def test_grids_of_another_encoder_are_refused(workplace, settings):
    with pytest.raises(UserError, match="made with other settings"):
        workplace.train(
            settings.model_copy(update={"embed": settings.embed.model_copy(update={"encoder": "resnet18"})})
        )


def written(group: Group, settings: Settings, folder: Path) -> list[str]:
    """The files that one of two processes wrote, each being told places of its own."""
    torch.set_num_threads(1)
    own = folder / f"rank{group.rank}"
    shared = Places(folder / "dataset", folder / "embeddings", own / "model", own / "train.json", own / "curves.csv")
    original, training.tracking.run = training.tracking.run, Tracking().run  # type: ignore[assignment]
    try:
        train(settings, shared, own / "resume", group)
    finally:
        training.tracking.run = original
    return sorted(path.name for path in own.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def test_only_the_first_of_two_processes_writes(ranks, workplace, settings, tmp_path):
    first, second = ranks(written, settings, tmp_path)
    assert {"config.json", "decoder.safetensors", "expectation.safetensors", "train.json"} <= set(first)
    assert second == []
