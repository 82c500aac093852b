"""What each option does alone: which rows are trained, and that a wrong override is named."""

from __future__ import annotations

import pytest

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
