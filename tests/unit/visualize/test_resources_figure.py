"""Resources are steps as long as the epochs were, and what was not measured is not drawn."""

import pytest

from src.visualize.curves import Curve
from src.visualize.resources import resources_figure

CURVES: dict[str, Curve] = {
    "seconds": {1: 60.0, 2: 120.0},
    "captions_per_second": {1: 200.0, 2: 300.0},
    "memory_peak_MiB": {1: 1024.0, 2: 2048.0},
}


def titles(curves: dict[str, Curve]) -> list[str]:
    return [axes.get_title(loc="left") for axes in resources_figure(curves, "LSTM").axes]


def test_a_step_is_as_long_as_its_epoch() -> None:
    speed = resources_figure(CURVES, "LSTM").axes[0]
    values, edges, _ = speed.patches[0].get_data()
    assert values.tolist() == [200, 300] and edges.tolist() == pytest.approx([0, 1, 3])


def test_memory_is_in_gibibytes() -> None:
    memory = resources_figure(CURVES, "LSTM").axes[1]
    assert memory.patches[0].get_data().values.tolist() == [1, 2]


def test_a_gpu_is_drawn_where_there_was_one() -> None:
    assert not any("GPU" in title for title in titles(CURVES))
    assert any("GPU" in title for title in titles({**CURVES, "gpu_percent": {1: 50.0, 2: 60.0}}))


def test_a_figure_that_an_epoch_lacks_leaves_a_gap() -> None:
    speed = resources_figure({**CURVES, "captions_per_second": {2: 300.0}}, "GRU").axes[0]
    assert str(speed.patches[0].get_data().values.tolist()) == "[nan, 300.0]"
