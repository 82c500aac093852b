"""Figures of a search are drawn of whatever trials there are: one, pruned ones, others that searched less."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from src.visualize.search import Tried, epochs_figure, history_figure, importance_figure, parallel_figure
from src.visualize.style import save

FIRST = Tried(0, "complete", 0.4, {1: 0.2, 2: 0.4}, {"model.rnn": "lstm", "train.clip_norm": 3.0})
PRUNED = Tried(1, "pruned", 0.1, {1: 0.1}, {"model.rnn": "gru"})
BEST = Tried(2, "complete", 0.6, {1: 0.3, 2: 0.6}, {"model.rnn": "gru"})


@pytest.mark.parametrize("trials", [[FIRST], [FIRST, PRUNED], [FIRST, PRUNED, BEST]])
def test_they_can_be_drawn_and_written(tmp_path, trials):
    drawn: list[Figure] = [
        history_figure(trials),
        epochs_figure(trials),
        parallel_figure(trials, frozenset({"train.clip_norm"})),
        importance_figure({"model.rnn": 0.7, "train.clip_norm": 0.3}, trials=4),
    ]
    for number, figure in enumerate(drawn):
        save(figure, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000


def test_what_a_trial_did_not_search_is_said():
    (axes,) = parallel_figure([FIRST, BEST], frozenset()).axes
    assert "not searched" in {text.get_text() for text in axes.texts}


def test_the_names_of_a_dozen_parameters_cover_neither_one_another_nor_the_edge():
    names = (
        "model.rnn", "model.hidden_size", "model.embedding_size", "model.attention_size", "model.dropout",
        "train.learning_rate", "train.final_learning_rate", "train.warmup_steps", "train.weight_decay",
        "train.clip_norm", "train.label_smoothing", "train.attention_penalty",
    )  # fmt: skip
    trials = [Tried(number, "complete", 0.1 * number, {}, dict.fromkeys(names, number)) for number in range(3)]
    (axes,) = parallel_figure(trials, frozenset()).axes
    labels = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(labels))
    assert min(label.y0 for label in labels) > 0
