"""An evaluation fits a terminal, and shows which differences are more than noise."""

import io

import numpy as np
import pytest
from rich.console import Console

from src.metrics.evaluation import NAMES
from src.metrics.scores import averaged
from src.metrics.significance import compare
from src.metrics.table import print_table

MODELS = {"LSTM": 0.25, "GRU": 0.251, "BLIP": 0.4}


def figures(base):
    return {name: base + place / 100 for place, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def comparison():
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.02, (2, 100))
    measured = {
        model: {name: averaged(base + place / 100 + noise[row % 2]).sums for place, name in enumerate(NAMES)}
        for row, (model, base) in enumerate(MODELS.items())
    }
    return compare(measured, 200).to_json() | {
        "origins": {"BLIP": {"checkpoint": "owner/blip", "finetuned_on": None}},
        "metrics": {"BERTScore": {"layer": 6}, "SPICE": {"absent": "no CoreNLP [here]"}},
    }


def shown(models, comparison=None, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_table(models, comparison, console)
    return console.file.getvalue()


def line(text, start):
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_three_models_with_intervals_fit_eighty_columns_without_a_broken_cell(comparison):
    statistics = {"caption_length": 9.1, "attention_in_box": 0.61, "attention_in_box_by_chance": 0.2}
    text = shown({model: figures(base) | statistics for model, base in MODELS.items()}, comparison)
    assert max(map(len, text.splitlines())) <= 80
    for name in NAMES:
        row = line(text, name)
        assert all(f"{figures(base)[name]:.3f} [." in row for base in MODELS.values())
    assert line(text, "attention_in_box").count("0.610 chance .200") == 3


def test_only_a_difference_beyond_chance_is_marked(comparison):
    text = shown({model: figures(base) for model, base in MODELS.items()}, comparison)
    differences = text[text.index("Differences") :]
    assert " ".join(line(differences, "metric").split()) == "metric LSTM - GRU LSTM - BLIP GRU - BLIP"
    assert line(differences, "CIDEr").count("*") == 2
    assert "-0.150 p=.005 *" in line(differences, "CIDEr")


def test_who_spoke_and_what_is_missing_is_said(comparison):
    text = shown({model: figures(base) for model, base in MODELS.items()}, comparison)
    assert "BLIP: checkpoint owner/blip, finetuned on nothing" in text
    assert "SPICE is absent: no CoreNLP [here]" in text


def test_figures_alone_are_a_table_too():
    text = shown({"LSTM": {"CIDEr": 0.5}, "BLIP": {"CIDEr": 0.6, "SPICE": 0.2}})
    assert line(text, "SPICE").split() == ["SPICE", "-", "0.200"]
    assert "Differences" not in text
