"""What params.yaml may offer a search, and how it says what is wrong with an offer."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from src.config import Settings
from src.search_space import Choice, Range


def space(offered: Any) -> dict[str, Range | Choice]:
    return Settings.model_validate({"tune": {"space": offered}}).tune.space


def test_it_is_nested_as_the_parameters_are_or_names_them_in_full():
    nested = space({"model": {"rnn": ["lstm", "gru"]}, "train": {"adapt": {"ema_decay": {"low": 0.9, "high": 0.999}}}})
    full = space({"model.rnn": ["lstm", "gru"], "train.adapt.ema_decay": {"low": 0.9, "high": 0.999}})
    assert nested == full
    assert list(nested) == ["model.rnn", "train.adapt.ema_decay"]


def test_settings_with_a_space_survive_a_round_trip():
    settings = Settings.model_validate(
        {
            "tune": {
                "space": {"model.rnn": ["gru"], "train.clip_norm": {"low": 1, "high": 9, "when": {"model.rnn": "gru"}}}
            }
        }
    )
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


def test_numbers_that_yaml_takes_for_words_are_numbers():
    found = space(
        yaml.safe_load("""
            train.learning_rate: [1e-3, 1e-4]
            train.weight_decay: {low: 1e-4, high: 1e-1, log: true}
            train.clip_norm: {low: 1, high: 9, when: {train.learning_rate: 1e-4}}
        """)
    )
    assert found["train.learning_rate"].values == (0.001, 0.0001)
    assert found["train.weight_decay"].values == (0.0001, 0.1)
    assert found["train.clip_norm"].when == {"train.learning_rate": 0.0001}


def test_the_ends_of_what_counts_are_whole_numbers_however_they_are_written():
    for low, high in ((128.0, 384.0), ("1e2", 384), (100, 384.0)):
        found = space({"model.hidden_size": {"low": low, "high": high}})["model.hidden_size"]
        assert [type(end) for end in found.values] == [int, int]
    with pytest.raises(ValidationError, match=r"hidden_size offers 128\.5"):
        space({"model.hidden_size": {"low": 128.5, "high": 384}})


@pytest.mark.parametrize(
    ("offered", "complaint"),
    [
        ({"model": {"hiden_size": [8, 16]}}, "hiden_size: there is no such parameter"),
        ({"model": {"dropout": {"low": "small", "high": 0.5}}}, "model.dropout.low is 'small': give a number"),
        ({"model": {"rnn": ["lstm", None]}}, "model.rnn.choices.1 is None: give a word, a number, true or false"),
        ({"model": {"dropout": {"low": 0.1, "high": 0.5, "step": 0.1}}}, "model.dropout.step is 0.1: Input should be"),
        ({"embed": {"encoder": ["a", "b"]}}, "embed.encoder: there is no such parameter"),
        ({"train": {"epochs": [3, 5]}}, "train.epochs cannot be searched"),
        ({"train": {"processes": [1, 2]}}, "train.processes cannot be searched"),
        ({"train": {"distill": [0.0, 0.5]}}, "train.distill cannot be searched: all trials learn from the captions"),
        ({"train": {"encoder_learning_rate": [1e-5, 1e-4]}}, "encoder_learning_rate cannot be searched: in no trial"),
        ({"train": {"self_critical_samples": [3, 5]}}, "self_critical_samples cannot be searched: in no trial"),
        ({"train": {"self_critical_learning_rate": [5e-5, 1e-4]}}, "_learning_rate cannot be searched: in no trial"),
        ({"model": {"dropout": {"low": 0.1, "high": 1.5}}}, "model.dropout offers 1.5"),
        ({"model": {"rnn": ["lstm", "rnn"]}}, "model.rnn offers 'rnn'"),
        ({"model": {"rnn": ["lstm", "lstm"]}}, "model.rnn: its choices are"),
        ({"train": {"learning_rate": ["1e-3", 0.001]}}, "train.learning_rate: its choices are"),
        ({"model": {"dropout": {"low": 0.1, "high": 0.2, "when": {"model.rnn": "rnn"}}}}, "when.model.rnn is 'rnn'"),
        ({"model": {"dropout": 0.5}}, "model.dropout is 0.5: give a list"),
        ({"model": {"dropout": {"low": 0.1}}}, "model.dropout.high: Field required"),
        ({"model": {"dropout": {"low": 0.5, "high": 0.1}}}, "low must be the smaller"),
        ({"train": {"weight_decay": {"low": 0, "high": 0.1, "log": True}}}, "begins above 0"),
        ({"train": {"clip_norm": {"low": 1, "high": 2, "steps": 1}}}, "known here: low, high, log, step, when"),
        ({"model": {"hidden_size": {"low": 128, "high": 300, "step": 128}}}, "from 128 to 300 in steps of 128"),
        ({"model": {"hidden_size": {"low": 1, "high": 3, "step": 2, "log": True}}}, "that the steps meet, and no log"),
        ({"train": {"clip_norm": {"low": 1, "high": 2, "when": {"model.cell": "gru"}}}}, "names 'model.cell'"),
        ({"train": {"clip_norm": {"low": 1, "high": 2, "when": {"model.rnn": "gru"}}}}, "is not searched and has ano"),
        (
            {"model.rnn": ["lstm"], "train.clip_norm": {"low": 1, "high": 2, "when": {"model.rnn": "gru"}}},
            "when.model.rnn is 'gru', but model.rnn is never given that value",
        ),
        ({"model": {"rnn": ["lstm"]}, "model.rnn": ["gru"]}, "model.rnn is given twice"),
    ],
)
def test_an_offer_that_no_parameter_takes_is_refused_by_name(offered, complaint):
    with pytest.raises(ValidationError, match=r".*") as refused:
        space(offered)
    assert complaint in str(refused.value)


def test_how_one_searches_is_no_parameter_of_a_run():
    assert not any(name.startswith("tune") for name in Settings().flat())
