from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from src.visualize.style import MODEL_COLOURS, colour, height, save, styled, wrapped


@styled()
def figure(text: str = "a dog runs") -> Figure:
    made = Figure(figsize=(2, 1))
    made.subplots().set_title(text)
    return made


def test_the_same_figure_is_the_same_bytes_whatever_matplotlib_was_told(tmp_path: Path) -> None:
    save(figure(), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 40, "text.color": "red", "axes.grid": False, "savefig.dpi": 30}):
        save(figure(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_making_a_figure_leaves_other_peoples_settings_alone() -> None:
    with matplotlib.rc_context({"font.size": 40}):
        figure()
        assert matplotlib.rcParams["font.size"] == 40


def test_a_figure_that_cannot_be_drawn_leaves_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    save(figure(), path)
    former = path.read_bytes()
    broken = figure("another")
    monkeypatch.setattr(broken, "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(broken, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [former]


def test_formulas_in_captions_are_words(tmp_path: Path) -> None:
    save(figure(r"$5 for \frac of a $ sandwich"), tmp_path / "a.png")


def test_every_model_has_a_colour_of_its_own() -> None:
    assert len({colour(model) for model in ("LSTM", "GRU", "BLIP")}) == 3


def test_a_model_without_a_colour_is_refused_by_name() -> None:
    assert "TRANSFORMER" not in MODEL_COLOURS
    with pytest.raises(ValueError, match="TRANSFORMER"):
        colour("TRANSFORMER")


def test_long_text_is_cut_after_its_last_line() -> None:
    lines = wrapped("a dog runs over the grass " * 20, 2, 10, lines=3).splitlines()
    assert len(lines) == 3 and lines[-1].endswith("…")


def test_text_that_fits_stays_whole() -> None:
    assert wrapped("a dog runs", 5, 10, lines=1) == "a dog runs"


def test_broken_text_keeps_every_word_in_order() -> None:
    text = "one two three four five six seven eight nine ten"
    assert wrapped(text, 0.8, 10, lines=20).split() == text.split()


def test_a_line_more_is_higher_and_nothing_takes_no_room() -> None:
    assert height("", 10) == 0 < height("one", 10) < height("one\ntwo", 10)
