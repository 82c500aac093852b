from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from src.data.manifest import Box
from src.visualize.attention import attention_figure
from src.visualize.style import save

ROWS, COLUMNS = 3, 4
EVEN = np.full(ROWS * COLUMNS, 1 / (ROWS * COLUMNS))


def grey(width: int = 120, height: int = 90) -> Image.Image:
    return Image.new("RGB", (width, height), (128, 128, 128))


def all_at(region: int) -> np.ndarray:
    return np.eye(ROWS * COLUMNS)[region]


def looks(*weights: np.ndarray) -> np.ndarray:
    return np.stack(weights) if weights else np.zeros((0, ROWS * COLUMNS))


def pictures(figure: Figure) -> list[Axes]:
    """The panels: first the picture alone, then one per word."""
    return [axes for axes in figure.axes if axes.images]


def pixels(panel: Axes) -> np.ndarray:
    return np.asarray(panel.images[0].get_array(), np.float64)


def test_the_picture_comes_first_then_one_panel_for_each_word() -> None:
    figure = attention_figure(grey(), ["a", "dog", "runs"], looks(EVEN, EVEN, EVEN), ROWS, COLUMNS)
    assert [panel.get_title(loc="left") for panel in pictures(figure)] == ["", "a", "dog", "runs"]


def test_the_picture_alone_keeps_its_colours() -> None:
    red = Image.new("RGB", (60, 60), (200, 30, 40))
    figure = attention_figure(red, ["a"], looks(EVEN), ROWS, COLUMNS)
    assert (pixels(pictures(figure)[0]) == (200, 30, 40)).all()


@given(row=st.integers(0, ROWS - 1), column=st.integers(0, COLUMNS - 1))
def test_a_panel_is_brightest_where_the_word_looked(row: int, column: int) -> None:
    figure = attention_figure(grey(), ["dog"], looks(all_at(row * COLUMNS + column)), ROWS, COLUMNS)
    light = pixels(pictures(figure)[1]).sum(axis=-1)
    y, x = np.unravel_index(light.argmax(), light.shape)
    assert (int(y / light.shape[0] * ROWS), int(x / light.shape[1] * COLUMNS)) == (row, column)


def test_heat_fades_without_steps() -> None:
    figure = attention_figure(grey(), ["dog"], looks(all_at(5)), ROWS, COLUMNS)
    light = pixels(pictures(figure)[1])
    assert np.abs(np.diff(light, axis=0)).max() < 12 and np.abs(np.diff(light, axis=1)).max() < 12


def test_a_word_that_looked_nowhere_in_particular_stays_dimmer_than_one_that_did() -> None:
    figure = attention_figure(grey(), ["the", "dog"], looks(EVEN, all_at(5)), ROWS, COLUMNS)
    _, the, dog = pictures(figure)
    assert pixels(the).max() < 0.7 * pixels(dog).max()


def test_a_box_is_drawn_where_a_word_names_the_object() -> None:
    box = Box("dog", 0.25, 0.5, 0.75, 1.0, ("dog", "puppy"))
    figure = attention_figure(grey(), ["a", "puppy"], looks(EVEN, EVEN), ROWS, COLUMNS, boxes=[box])
    picture, a, puppy = pictures(figure)
    assert not picture.patches and not a.patches
    high, wide = pixels(puppy).shape[:2]
    assert puppy.patches[0].get_bbox().bounds == pytest.approx((0.25 * wide, 0.5 * high, 0.5 * wide, 0.5 * high))


def test_a_caption_without_words_shows_the_picture() -> None:
    assert len(pictures(attention_figure(grey(), [], looks(), ROWS, COLUMNS))) == 1


def test_weights_of_another_grid_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 12\).*2 words over 3 x 4 regions"):
        attention_figure(grey(), ["a", "dog"], looks(EVEN), ROWS, COLUMNS)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (4000, 20), (20, 4000)])
def test_a_figure_of_any_picture_keeps_its_width_and_a_readable_height(width: int, height: int, tmp_path: Path) -> None:
    figure = attention_figure(grey(width, height), ["a"] * 20, looks(*[EVEN] * 20), ROWS, COLUMNS, "A title.")
    save(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as drawn:
        assert drawn.width == 1320 and 700 < drawn.height < 2200
