"""The files and the table of an evaluation have the shape that people and scripts rely on."""

import io
import json

import pytest
from rich.console import Console

from src.metrics.evaluation import NAMES
from src.metrics.report import EvaluatedImage, EvaluatedModel, print_table, write_evaluation
from src.metrics.scores import Scores


def figures(base):
    return {name: base + place / 100 for place, name in enumerate(NAMES)}


def model(images=("flickr8k/1.jpg",)):
    return EvaluatedModel(
        captions=dict.fromkeys(images, "a dog “runs”"),
        scores=Scores(figures(0.25), {image: figures(0.5) for image in images}),
    )


IMAGES = {"flickr8k/1.jpg": EvaluatedImage("1.jpg", "outputs/embeddings/grids.npy[17]", ("A dog runs .", "Dog!"))}


@pytest.fixture
def files(tmp_path):
    return tmp_path / "outputs/evaluation/eval-metrics.json", tmp_path / "reports/evaluation.json"


def nested(base):
    flat = figures(base)
    return {"BLEU_scores": {name: flat[name] for name in NAMES[:4]}, **{name: flat[name] for name in NAMES[4:]}}


def test_the_details_nest_as_laid_down(files):
    write_evaluation({"LSTM": model()}, IMAGES, *files)
    assert json.loads(files[0].read_text(encoding="utf-8")) == {
        "models": {
            "LSTM": {
                "overall_metrics": nested(0.25),
                "test_images": [
                    {
                        "filename": "1.jpg",
                        "image_embedding": "outputs/embeddings/grids.npy[17]",
                        "actual_captions": ["A dog runs .", "Dog!"],
                        "generated_caption": "a dog “runs”",
                        "evaluation_metrics": nested(0.5),
                    }
                ],
            }
        }
    }


def test_the_figures_are_flat(files):
    write_evaluation({"LSTM": model(), "GRU": model()}, IMAGES, *files)
    assert json.loads(files[1].read_text()) == {"LSTM": figures(0.25), "GRU": figures(0.25)}


def test_a_model_scored_on_other_images_is_refused_and_nothing_written(files):
    with pytest.raises(ValueError, match=r"GRU's captions and the test images differ in 2 images, e\.g\. 'flickr8k/1"):
        write_evaluation({"LSTM": model(), "GRU": model(["flickr8k/2.jpg"])}, IMAGES, *files)
    assert not any(file.exists() for file in files)


def shown(models, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_table(models, console)
    return console.file.getvalue()


def test_the_table_holds_every_figure_in_eighty_columns():
    text = shown({"LSTM": figures(0.25), "GRU": figures(0.3), "BLIP": figures(0.4)})
    assert max(map(len, text.splitlines())) <= 80
    for name in NAMES:
        (line,) = (line for line in text.splitlines() if name in line)
        assert [f"{figures(base)[name]:.3f}" in line for base in (0.25, 0.3, 0.4)] == [True] * 3


def test_a_metric_that_one_model_lacks_is_a_dash():
    line = next(
        line
        for line in shown({"LSTM": {"CIDEr": 0.5}, "BLIP": {"CIDEr": 0.6, "SPICE": 0.2}}).splitlines()
        if "SPICE" in line
    )
    assert "-" in line and "0.200" in line
