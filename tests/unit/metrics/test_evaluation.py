"""An evaluation gives pycocoevalcap's figures, for the corpus and for each image, whatever the captions are."""

import math
import os
from pathlib import Path

import psutil
import pytest

from src.metrics.evaluation import METRICS, NAMES, evaluate
from src.metrics.java import find_java

ODD = {
    "plain": (["A brown dog runs on the grass.", "The dog is running", "Dog on a lawn ."], "a dog runs on the grass"),
    "equal": (["Two children play in the sand at the beach."], "two children play in the sand at the beach"),
    "nothing said": (["A man in a red shirt climbs.", "a climber"], ""),
    "punctuation said": (["A bird sits on a wire", "one bird"], " ...!? "),
    "one word": (["A cat sleeps on a sofa", "Cat"], "cat"),
    "an empty reference": (["", "A boat on the sea", " "], "a boat at sea"),
    "only empty references": (["", "..."], "a boat at sea"),
    "quotes": (['A sign says "stop" in red', "It's a 'stop' sign; isn't it?"], 'a "stop" sign isn\'t here'),
    "newlines": (["A woman\nreads a book", "\nA woman reads\n\n"], "a woman\n\nreads a\nbook"),
    "unicode": (["Un café à Zürich – très chic", "北京的街道 😀 ½"], "café zürich 北京 😀"),
    "brackets and bars": (["A (small) [box] {here} | there", "a ||| b"], "a ||| (small) | box"),
    "the U.S.": (["A flag of the U.S.", "Mr. Smith's flag, 3/4 mast"], "flag of the u.s."),
    "500 words": (["A dog " * 250, "a dog"], "the dog runs " * 166 + "on grass"),
    "stutter": (["a man rides a horse", "man on horse"], "a a a a man man man man"),
}
REFERENCES = {image: references for image, (references, _) in ODD.items()}
CAPTIONS = {image: caption for image, (_, caption) in ODD.items()}


@pytest.fixture(scope="module")
def scores():
    return evaluate(REFERENCES, CAPTIONS)


@pytest.fixture(scope="module")
def theirs():
    """The same, by the calls that pycocoevalcap's own evaluation makes: metric -> (corpus, images)."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(find_java()).parent}{os.pathsep}{os.environ['PATH']}")
        truth = PTBTokenizer().tokenize({k: [{"caption": text} for text in v] for k, v in REFERENCES.items()})
        said = PTBTokenizer().tokenize({k: [{"caption": text}] for k, text in CAPTIONS.items()})
        bleu, bleus = Bleu(4).compute_score(truth, said)
        measured = {f"BLEU-{n}": (bleu[n - 1], bleus[n - 1]) for n in range(1, 5)}
        for name, scorer in {"METEOR": Meteor, "ROUGE": Rouge, "CIDEr": Cider}.items():
            measured[name] = scorer().compute_score(truth, said)
    return measured


@pytest.mark.parametrize("metric", NAMES[:-1])
def test_the_corpus_figure_is_pycocoevalcaps(scores, theirs, metric):
    assert scores.overall[metric] == pytest.approx(theirs[metric][0], abs=1e-6)


@pytest.mark.parametrize("metric", NAMES[:-1])
def test_each_images_figure_is_pycocoevalcaps(scores, theirs, metric):
    ours = [figures[metric] for figures in scores.per_image.values()]
    assert ours == pytest.approx(list(theirs[metric][1]), abs=1e-6)


def test_every_image_has_every_figure(scores):
    assert list(scores.per_image) == list(REFERENCES)
    assert all(tuple(figures) == NAMES for figures in [scores.overall, *scores.per_image.values()])
    assert all(math.isfinite(figure) for figures in scores.per_image.values() for figure in figures.values())


def test_no_java_stays_behind(scores):
    assert not [process for process in psutil.Process().children(recursive=True) if "java" in process.name()]


def test_only_the_wanted_metrics_are_worked_out():
    scores = evaluate(REFERENCES, CAPTIONS, metrics=["ROUGE", "BLEU"])
    assert list(scores.overall) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE"]


def test_the_order_of_captions_does_not_matter():
    turned = dict(reversed(CAPTIONS.items()))
    metrics = ["CIDEr", "ROUGE"]
    assert evaluate(REFERENCES, turned, metrics) == evaluate(REFERENCES, CAPTIONS, metrics)


@pytest.mark.parametrize(
    ("references", "captions", "complaint"),
    [
        ({}, {}, "there are no images"),
        ({"a": ["x"], "b": ["y"]}, {"a": "x"}, "1 images have references but no caption: b"),
        ({"a": ["x"]}, {"a": "x", "c": "y"}, "1 images have a caption but are not in the references: c"),
        ({"a": ["x"], "d": []}, {"a": "x", "d": "y"}, "1 images have no references: d"),
        (
            {f"i{n}": [] for n in range(9)},
            {f"i{n}": "" for n in range(9)},
            "9 images .*: i0, i1, i2, i3, i4, \\.\\.\\.",
        ),
    ],
)
def test_images_that_cannot_be_scored_are_named(references, captions, complaint):
    with pytest.raises(ValueError, match=complaint):
        evaluate(references, captions)


@pytest.mark.parametrize("metrics", [["SPIDER"], []])
def test_unknown_metrics_are_refused_with_the_known_ones(metrics):
    with pytest.raises(ValueError, match=", ".join(METRICS)):
        evaluate({"a": ["x"]}, {"a": "x"}, metrics)
