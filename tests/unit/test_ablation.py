"""What each option does alone: which rows are trained, and that a wrong override is named."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import ablation
from benchmarks.ablation import only_decoding, overrides, table
from src import config
from src.errors import UserError
from src.tune.suggestions import changed


def test_overrides_are_read_as_yaml():
    assert overrides("train.label_smoothing=0.2 model.rnn=gru embed.image_size=null") == {
        "train.label_smoothing": 0.2,
        "model.rnn": "gru",
        "embed.image_size": None,
    }


def test_what_is_no_override_is_named():
    with pytest.raises(UserError, match="'gru' in 'gru' is no override"):
        overrides("gru")


@pytest.mark.parametrize("key", ["trian.epochs", "train.epochs.more", "train.epoch"])
def test_an_unknown_parameter_is_named(key):
    with pytest.raises(UserError, match=key.split(".")[-1] if key == "train.epoch" else key):
        changed(config.Settings(), {key: 1}, "a row")


def test_rows_that_only_speak_differently_share_a_model():
    given = config.Settings()
    assert only_decoding(changed(given, {"decode.rerank": "consensus"}, "a row"), given)
    assert not only_decoding(changed(given, {"decode.max_words": 10}, "a row"), given)
    assert not only_decoding(changed(given, {"train.adapt.ema_decay": 0.0}, "a row"), given)


def test_rows_stand_beside_the_first():
    row = {"greedy": 0.5, "decode": 0.6, "epoch": 3, "seconds": 10.0}
    found = table({"": row, "model.rnn=gru": row | {"decode": 0.55, "seconds": None}})
    assert [list(column.cells) for column in found.columns][3] == ["", "-0.050"]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Calls the benchmark in a folder of its own, where a GRU cannot be trained; gives the rows that it kept."""
    (tmp_path / "params.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)

    def trained(folder, settings, prepared, threads):
        if settings.model.rnn == "gru":
            raise UserError("stages.train failed: no room")
        return {"greedy": settings.model.dropout, "epoch": 1, "seconds": 2.0}

    monkeypatch.setattr(ablation, "trained", trained)
    monkeypatch.setattr(ablation, "said", lambda folder, settings: 0.6)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ablation", "--json", "rows.json", *arguments])
        ablation.main()
        return json.loads((tmp_path / "rows.json").read_text())["rows"]

    return call


def test_a_row_that_fails_is_named_and_costs_no_other(measured, tmp_path, capsys):
    with pytest.raises(SystemExit):
        measured("model.rnn=gru", "model.dropout=0.4", "--workers", "1")
    assert "error: model.rnn=gru: stages.train failed: no room" in capsys.readouterr().err
    assert {*json.loads((tmp_path / "rows.json").read_text())["rows"]} == {"", "model.dropout=0.4"}


def test_rows_that_a_file_holds_are_not_trained_again(measured):
    first = measured("model.dropout=0.4")
    assert measured("model.dropout=0.4", "model.dropout=0.1") == first | {
        "model.dropout=0.1": {"greedy": 0.1, "epoch": 1, "seconds": 2.0, "decode": 0.6}
    }


@pytest.mark.parametrize("override", ["decode.rerank=baseline", "train.distill=0.5"])
def test_what_takes_blip_is_refused(measured, override, capsys):
    with pytest.raises(SystemExit):
        measured(override)
    assert override in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("train.epochs=2", ["train"]),
        ("prepare.min_word_count=9", ["prepare", "train"]),
        ("embed.precision=fp32", ["embed", "train"]),
        ("dataset.name=flickr8k", ["prepare", "embed", "train"]),
    ],
)
def test_what_a_row_changes_about_the_data_is_made_anew(override, stages, tmp_path, monkeypatch):
    """Compared with what this folder was prepared with, so that --set counts too."""
    for name in ("outputs/dataset", "outputs/embeddings", "row/reports"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("{}")
    (tmp_path / "row/reports/train.json").write_text('{"val_CIDEr": 0.5, "best_epoch": 1, "train_seconds": 2}')
    monkeypatch.chdir(tmp_path)
    ran = []

    def run(command, **options):
        ran.append(command[-1].removeprefix("stages."))
        return ablation.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(ablation.subprocess, "run", run)
    prepared = config.load()
    ablation.trained(tmp_path / "row", changed(prepared, overrides(override), "--set"), prepared, 1)
    assert ran == stages
