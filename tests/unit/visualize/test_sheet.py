import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from src.visualize.sheet import BEST, LOT, MIDDLE, WORST, Tile, choose, sheet_figure
from src.visualize.style import colour

SCORES = st.lists(st.floats(0, 10), min_size=1, max_size=60)


def tile(**changes: object) -> Tile:
    plain = {"picture": Image.new("RGB", (40, 30)), "caption": "A dog runs.", "reference": "One dog.", "score": 1.234}
    return Tile(**{**plain, **changes})  # type: ignore[arg-type]


def words(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.texts]


@given(SCORES, st.integers(1, 6))
def test_no_image_is_shown_twice_and_something_is_always_shown(scores: list[float], each: int) -> None:
    shown = [image for images in choose(scores, each, seed=0).values() for image in images]
    assert 1 <= len(shown) == len(set(shown)) <= 4 * each


@given(SCORES, st.integers(1, 6))
def test_no_image_beats_the_best_or_is_beaten_by_the_worst(scores: list[float], each: int) -> None:
    chosen = choose(scores, each, seed=0)
    others = [scores[image] for image in range(len(scores)) if image not in chosen[BEST]]
    assert min(scores[image] for image in chosen[BEST]) >= max(others, default=0)
    if WORST in chosen:
        others = [scores[image] for image in range(len(scores)) if image not in chosen[WORST]]
        assert max(scores[image] for image in chosen[WORST]) <= min(others, default=10)


def test_the_middle_lies_about_the_median() -> None:
    scores = np.random.default_rng(0).permutation(101).astype(float)
    assert sorted(scores[choose(scores.tolist(), 5, seed=0)[MIDDLE]]) == [48, 49, 50, 51, 52]


def test_every_kind_is_full_when_there_are_images_enough() -> None:
    assert {kind: len(images) for kind, images in choose([1.0] * 20, 5, seed=0).items()} == {
        BEST: 5,
        MIDDLE: 5,
        WORST: 5,
        LOT: 5,
    }


def test_the_lot_is_the_seeds() -> None:
    scores = np.linspace(0, 1, 200).tolist()
    assert choose(scores, 5, seed=1) == choose(scores, 5, seed=1)
    assert choose(scores, 5, seed=1)[LOT] != choose(scores, 5, seed=2)[LOT]


def test_a_tile_tells_score_caption_and_what_a_person_wrote() -> None:
    figure = sheet_figure({BEST: [tile()]}, "LSTM", "CIDEr")
    assert {BEST, "CIDEr 1.23", "A dog runs.", "One dog."} <= set(words(figure))


def test_the_caption_is_in_the_models_colour() -> None:
    figure = sheet_figure({BEST: [tile()]}, "GRU", "CIDEr")
    shades = {text.get_text(): to_hex(text.get_color()) for text in figure.texts}
    assert shades["A dog runs."] == colour("GRU").lower() != shades["One dog."]


def test_words_of_one_row_end_above_the_next() -> None:
    long = "a small brown dog with a red collar runs over the wet grass towards its owner " * 4
    figure = sheet_figure({BEST: [tile(caption=long, reference=long)], WORST: [tile()]}, "LSTM", "CIDEr")
    wordy = [text.get_window_extent().y0 for text in figure.texts if text.get_text().startswith("a small")]
    below = next(text.get_window_extent().y1 for text in figure.texts if text.get_text() == WORST)
    assert len(wordy) == 2 and min(wordy) > below


def test_no_words_reach_into_the_neighbours() -> None:
    wide = "Women swimming among huge mammoths watch warm waves " * 3
    figure = sheet_figure({BEST: [tile(caption=wide, reference=wide), tile()]}, "LSTM", "CIDEr")
    neighbour = figure.axes[1].get_window_extent().x0
    ends = [text.get_window_extent().x1 for text in figure.texts if text.get_text().startswith("Women")]
    assert len(ends) == 2 and max(ends) < neighbour
