"""An evaluation gives pycocoevalcap's figures, for the corpus and for each image, whatever the captions are."""

import math
import os
from pathlib import Path

import psutil
import pytest

from src.config import Evaluate
from src.errors import UserError
from src.metrics.evaluation import NAMES, evaluate, evaluate_all
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
MEASURED = tuple(name for name in NAMES if name != "SPICE")
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


@pytest.mark.parametrize("metric", NAMES[:7])
def test_the_corpus_figure_is_pycocoevalcaps(scores, theirs, metric):
    assert scores.overall[metric] == pytest.approx(theirs[metric][0], abs=1e-6)


@pytest.mark.parametrize("metric", NAMES[:7])
def test_each_images_figure_is_pycocoevalcaps(scores, theirs, metric):
    ours = [figures[metric] for figures in scores.per_image.values()]
    assert ours == pytest.approx(list(theirs[metric][1]), abs=1e-6)


def test_every_image_has_every_figure(scores):
    assert list(scores.per_image) == list(REFERENCES)
    assert all(tuple(figures) == MEASURED for figures in [scores.overall, *scores.per_image.values()])
    assert all(math.isfinite(figure) for figures in scores.per_image.values() for figure in figures.values())


def test_no_java_stays_behind(scores):
    assert not [process for process in psutil.Process().children(recursive=True) if "java" in process.name()]


def test_only_the_wanted_metrics_are_worked_out():
    scores = evaluate(REFERENCES, CAPTIONS, Evaluate(metrics=("ROUGE", "BLEU")))
    assert list(scores.overall) == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE"]


def test_the_order_of_captions_does_not_matter():
    turned = dict(reversed(CAPTIONS.items()))
    settings = Evaluate(metrics=("CIDEr", "ROUGE"))
    assert evaluate(REFERENCES, turned, settings) == evaluate(REFERENCES, CAPTIONS, settings)


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


@pytest.fixture(scope="module")
def side_by_side():
    settings = Evaluate(metrics=("BLEU", "CIDEr", "METEOR", "ROUGE", "SPICE"))
    return evaluate_all(
        REFERENCES, {"LSTM": CAPTIONS, "BLIP": {image: of[0] for image, of in REFERENCES.items()}}, settings
    )


def test_a_model_is_scored_beside_others_as_it_is_alone(side_by_side, scores):
    assert list(side_by_side) == ["LSTM", "BLIP"]
    assert side_by_side["LSTM"].overall == {name: scores.overall[name] for name in side_by_side["LSTM"].overall}
    assert side_by_side["BLIP"].overall["CIDEr"] > side_by_side["LSTM"].overall["CIDEr"]


def test_spice_is_absent_with_a_reason_and_not_zero(side_by_side):
    assert "SPICE" not in side_by_side["LSTM"].overall
    assert "stanford-corenlp-3.6.0" in side_by_side["LSTM"].notes["SPICE"]["absent"]


def test_spice_alone_where_it_is_absent_is_refused_with_the_reason():
    with pytest.raises(UserError, match=r"SPICE is the only metric asked for .*stanford-corenlp-3\.6\.0"):
        evaluate(REFERENCES, CAPTIONS, Evaluate(metrics=("SPICE",)))


def test_every_figure_of_the_corpus_is_made_of_sums_over_its_images(scores):
    for name, sums in scores.sums.items():
        assert float(sums.figure(sums.parts.sum(axis=0))) == pytest.approx(scores.overall[name], abs=1e-12), name


@pytest.mark.parametrize("metric", NAMES[:6])
def test_a_single_image_is_a_corpus_too(scores, metric):
    sums = scores.sums[metric]
    ours = [figures[metric] for figures in scores.per_image.values()]
    assert sums.figure(sums.parts) == pytest.approx(ours, abs=1e-12)


def test_a_sample_of_images_has_the_figures_of_an_evaluation_of_them_alone(scores):
    rows = [0, 1, 4, 7, 13]
    images = [list(REFERENCES)[row] for row in rows]
    alone = evaluate(
        {image: REFERENCES[image] for image in images},
        {image: CAPTIONS[image] for image in images},
        Evaluate(metrics=("BLEU", "METEOR")),
    )
    for name, figure in alone.overall.items():
        sums = scores.sums[name]
        assert float(sums.figure(sums.parts[rows].sum(axis=0))) == pytest.approx(figure, abs=1e-12)


def test_bleu_is_nltks_where_neither_smooths():
    from nltk.translate.bleu_score import corpus_bleu

    references = [["a dog runs on the green grass", "the dog is running on grass"], ["two men ride one brown horse"]]
    captions = ["a dog is running on the green grass", "two men ride one brown horse today"]
    measured = evaluate(
        dict(zip("ab", references, strict=True)), dict(zip("ab", captions, strict=True)), Evaluate(metrics=("BLEU",))
    )
    for size in range(1, 5):
        theirs = corpus_bleu(
            [[reference.split() for reference in of_image] for of_image in references],
            [caption.split() for caption in captions],
            weights=[1 / size] * size,
        )
        assert measured.overall[f"BLEU-{size}"] == pytest.approx(theirs, abs=1e-6)
