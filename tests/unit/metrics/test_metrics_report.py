"""The files of an evaluation have the shape that people and scripts rely on."""

import json

import pytest

from src.metrics.evaluation import NAMES
from src.metrics.report import EvaluatedImage, EvaluatedModel, write_evaluation
from src.metrics.scores import Scores


def figures(base):
    return {name: base + place / 100 for place, name in enumerate(NAMES)}


def model(images=("flickr8k/1.jpg",)):
    return EvaluatedModel(
        captions=dict.fromkeys(images, "a dog “runs”"),
        scores=Scores(figures(0.25), {image: figures(0.5) for image in images}, notes={"BERTScore": {"layer": 6}}),
        origin={"digest": "ab12"},
        statistics={"caption_length": 4.0},
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
                "origin": {"digest": "ab12"},
                "overall_metrics": nested(0.25) | {"caption_length": 4.0},
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
        },
        "metrics": {"BERTScore": {"layer": 6}},
    }


def test_the_figures_are_flat(files):
    write_evaluation({"LSTM": model(), "GRU": model()}, IMAGES, *files)
    assert json.loads(files[1].read_text()) == {
        name: figures(0.25) | {"caption_length": 4.0} for name in ("LSTM", "GRU")
    }


def test_a_model_scored_on_other_images_is_refused_and_nothing_written(files):
    with pytest.raises(ValueError, match=r"GRU's captions and the test images differ in 2 images, e\.g\. 'flickr8k/1"):
        write_evaluation({"LSTM": model(), "GRU": model(["flickr8k/2.jpg"])}, IMAGES, *files)
    assert not any(file.exists() for file in files)
