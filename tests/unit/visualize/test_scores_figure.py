"""Bars are as high as the figures, lines as long as the intervals, in the model's colour."""

from matplotlib.colors import to_hex

from src.visualize.scores import scores_figure
from src.visualize.style import colour

MODELS = {"LSTM": {"BLEU-1": 0.5, "CIDEr": 1.5}, "BLIP": {"BLEU-1": 0.25}}
COMPARED = {
    "images": 1500,
    "level": 0.95,
    "intervals": {"LSTM": {"BLEU-1": [0.4, 0.6], "CIDEr": [1.4, 1.7]}, "BLIP": {"BLEU-1": [0.2, 0.3]}},
    "pairs": [{"first": "LSTM", "second": "BLIP", "metric": "BLEU-1", "difference": -0.25, "p": 0.0004}],
}


def test_each_metric_has_a_bar_and_a_line_for_each_model_that_has_it() -> None:
    bleu, cider = scores_figure(MODELS, COMPARED).axes
    assert [bar.get_height() for bar in bleu.patches] == [0.5, 0.25]
    assert [list(line.get_ydata()) for line in bleu.lines] == [[0.4, 0.6], [0.2, 0.3]]
    assert [bar.get_height() for bar in cider.patches] == [1.5]
    assert [to_hex(bar.get_facecolor()) for bar in bleu.patches] == [colour(name).lower() for name in ("LSTM", "BLIP")]


def test_the_first_pairs_difference_stands_below_its_metric() -> None:
    texts = {text.get_text() for text in scores_figure(MODELS, COMPARED).texts}
    assert "LSTM − BLIP  -0.250, p < 0.001" in texts or "LSTM − BLIP  −0.250, p < 0.001" in texts


def test_one_model_alone_is_drawn_without_talk_of_differences() -> None:
    alone = {**COMPARED, "pairs": [], "intervals": {"LSTM": COMPARED["intervals"]["LSTM"]}}  # type: ignore[index]
    texts = " ".join(text.get_text() for text in scores_figure({"LSTM": MODELS["LSTM"]}, alone).texts)
    assert "LSTM on 1,500 test images" in texts and "p:" not in texts
