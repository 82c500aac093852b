"""What is counted is what `evaluate` counts, and a hit can be told from a miss by looking."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from src.data.manifest import Box
from src.visualize.beside import beside_figure
from src.visualize.heat import HIT, MISS, Look
from src.visualize.pointing import Example, counted, examples, pointing_figure
from src.visualize.style import colour

ROWS = COLUMNS = 4
DOG = Box("dog", 0.0, 0.0, 0.5, 0.5, ("dog", "puppy"))
PICTURE = Image.new("RGB", (80, 80), (90, 120, 90))
INSIDE, OUTSIDE = 0, 15


def look(*regions: int, model: str = "LSTM", words: tuple[str, ...] = ("a", "dog")) -> Look:
    attention = np.stack([np.where(np.arange(16) == region, 0.7, 0.02) for region in regions])
    return Look(model, words, attention, ROWS, COLUMNS, "A dog.")


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize(("region", "mark"), [(INSIDE, HIT), (OUTSIDE, MISS)])
def test_a_word_says_whether_it_looked_at_its_object(region: int, mark: str) -> None:
    figure = beside_figure(PICTURE, [look(3, region)], boxes=[DOG])
    assert f"dog {mark}" in titles(figure) and "a" in titles(figure)


def test_the_peak_is_marked_in_its_region() -> None:
    figure = beside_figure(PICTURE, [look(3, OUTSIDE)], boxes=[DOG])
    (panel,) = [axes for axes in figure.axes if axes.get_title(loc="left").startswith("dog")]
    x, y = panel.lines[-1].get_xydata()[0]
    left, right = panel.get_xlim()
    bottom, top = panel.get_ylim()
    assert (x - left) / (right - left) > 0.75 and (y - top) / (bottom - top) > 0.75


def test_each_models_caption_is_in_its_colour_and_all_words_share_a_scale() -> None:
    figure = beside_figure(PICTURE, [look(3, 3), look(3, 3, model="GRU")], "A dog.")
    shades = {text.get_text(): text.get_color() for text in figure.texts}
    assert shades["LSTM: A dog."] == colour("LSTM") and shades["GRU: A dog."] == colour("GRU")
    assert sum("×" in label.get_text() for axes in figure.axes for label in axes.get_xticklabels()) == 2


def test_models_with_different_grids_stand_beside_one_another() -> None:
    other = Look("GRU", ("dog",), np.full((1, 4), 0.25), 2, 2, "Dog.")
    assert "dog" in titles(beside_figure(PICTURE, [look(3, 3), other]))


def test_a_model_that_says_nothing_leaves_its_row_empty() -> None:
    silent = Look("GRU", (), np.zeros((0, 16)), ROWS, COLUMNS)
    assert titles(beside_figure(PICTURE, [look(3, 3), silent])).count("dog") == 1


def test_hits_are_counted_against_chance() -> None:
    points = [*look(3, INSIDE).points([DOG]), *look(3, OUTSIDE).points([DOG])]
    assert counted("LSTM", points) == "LSTM: 1 of 2 object words, 50%; a peak anywhere would give 25%"


def test_examples_are_drawn_from_hits_and_misses_alike_and_only_where_an_object_is_named() -> None:
    looks = [look(3, INSIDE), look(3, OUTSIDE), look(3, 3, words=("a", "cat"))]
    assert examples(looks, [[DOG]] * 3, seed=0) == [(0, 1), (1, 1)]


def test_the_chart_has_every_models_hits_of_every_kind() -> None:
    points = {
        "LSTM": [*look(3, INSIDE).points([DOG]), *look(3, OUTSIDE).points([DOG])],
        "GRU": look(3, INSIDE, model="GRU").points([DOG]),
    }
    figure = pointing_figure(points, [Example(PICTURE, look(3, INSIDE), 1, [DOG])])
    assert {"1/2", "1/1"} <= {text.get_text() for text in figure.axes[0].texts}
    assert f"dog {HIT}" in titles(figure)
