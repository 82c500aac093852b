from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from src.errors import MissingFile, UserError
from src.visualize.curves import Curve, curves_figure, read_curves
from src.visualize.style import colour

CURVES: dict[str, Curve] = {
    "train_loss": {1: 4.0, 2: 3.5, 3: 3.0, 4: 2.8},
    "val_loss": {1: 3.8, 2: 3.6, 3: 3.5, 4: 3.6},
    "val_CIDEr": {1: 0.2, 2: 0.5, 3: 0.5, 4: 0.4},
    "learning_rate": {1: 1e-3, 2: 8e-4, 3: 4e-4, 4: 1e-4},
}


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_a_blank_cell_is_no_point(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("step,train_loss,val_CIDEr\n1,4.0,0.2\n2,3.5,\n3,,0.4\n")
    assert read_curves(path) == {"train_loss": {1: 4.0, 2: 3.5}, "val_CIDEr": {1: 0.2, 3: 0.4}}


def test_curves_that_were_not_drawn_yet_name_the_stage(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="dvc repro train"):
        read_curves(tmp_path / "curves.csv")


@pytest.mark.parametrize("text", ["epoch,loss\n1,2\n", "step,loss\n1,much\n", "step,loss\n1,2,3\n"])
def test_a_file_that_is_no_table_of_curves_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"curves\.csv"):
        read_curves(path)


def test_of_equally_good_epochs_the_first_is_marked_as_training_chose_it() -> None:
    assert "0.500\nepoch 2" in words(curves_figure(CURVES, "LSTM"))


@pytest.mark.parametrize("model", ["LSTM", "GRU"])
def test_validation_is_drawn_in_the_models_colour(model: str) -> None:
    loss, cider, _ = curves_figure(CURVES, model).axes
    assert to_hex(loss.lines[1].get_color()) == to_hex(cider.lines[0].get_color()) == colour(model).lower()


def test_one_epoch_is_a_point_to_be_seen() -> None:
    figure = curves_figure({name: {1: curve[1]} for name, curve in CURVES.items()}, "GRU")
    assert all(axes.lines[0].get_marker() == "o" for axes in figure.axes)


def test_a_decision_taken_again_keeps_its_letter_and_is_explained_once() -> None:
    figure = curves_figure(CURVES, "LSTM", [(2, "rate x 0.5"), (3, "averaged"), (4, "rate x 0.5")])
    assert [text for text in words(figure).split("\n") if text in "ABC"] == ["A", "B", "A"] * 3
    explained = [text.get_text() for text in figure.texts]
    assert "rate x 0.5 (epochs 2, 4)" in explained and "averaged (epoch 3)" in explained


def test_decisions_of_one_epoch_stand_side_by_side() -> None:
    assert "AB" in words(curves_figure(CURVES, "LSTM", [(2, "rate"), (2, "sampling")])).split("\n")


def test_letters_that_would_cover_one_another_are_left_out_but_explained() -> None:
    long: dict[str, Curve] = {
        name: {epoch: curve[1 + epoch % 4] for epoch in range(1, 301)} for name, curve in CURVES.items()
    }
    figure = curves_figure(long, "LSTM", [(150, "one"), (151, "other")])
    assert "B" not in words(figure).split("\n")
    assert "other (epoch 151)" in [text.get_text() for text in figure.texts]
