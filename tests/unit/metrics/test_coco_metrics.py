"""Rules that BLEU, ROUGE-L and CIDEr keep for all captions. Their figures are compared in test_evaluation.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.metrics import coco

captions = st.lists(st.sampled_from(["a", "dog", "cat", "runs", "sits", "on", "grass"]), max_size=12).map(" ".join)
corpora = st.lists(st.tuples(st.lists(captions, min_size=1, max_size=5), captions), min_size=1, max_size=5).filter(
    lambda corpus: any(reference for references, _ in corpus for reference in references)
)
long_captions = st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=12).map(" ".join)


def measure(references, said):
    return {**coco.bleu(references, said), "ROUGE": coco.rouge(references, said), "CIDEr": coco.cider(references, said)}


@given(st.lists(long_captions, min_size=1, max_size=4))
def test_captions_equal_to_a_reference_score_one(said):
    references = [["something else altogether here", caption] for caption in said]
    measured = {**coco.bleu(references, said), "ROUGE": coco.rouge(references, said)}
    assert {name: figures.overall for name, figures in measured.items()} == pytest.approx(dict.fromkeys(measured, 1.0))


@given(corpora)
def test_the_order_of_references_changes_nothing(corpus):
    references, said = map(list, zip(*corpus, strict=True))
    before = measure(references, said)
    after = measure([of_image[::-1] for of_image in references], said)
    for name, figures in before.items():
        assert after[name].overall == pytest.approx(figures.overall)
        assert after[name].per_image == pytest.approx(figures.per_image)


@given(corpora)
def test_fractions_stay_between_nothing_and_one(corpus):
    references, said = map(list, zip(*corpus, strict=True))
    measured = measure(references, said)
    del measured["CIDEr"]
    for figures in measured.values():
        assert all(0 <= figure <= 1 for figure in [figures.overall, *figures.per_image])


def test_nothing_is_printed(capfd):
    measure([["a dog runs on grass"]], ["a dog"])
    assert capfd.readouterr() == ("", "")


def test_cider_without_a_word_in_any_reference_is_refused():
    with pytest.raises(ValueError, match="none of the references of 2 images has a word"):
        coco.cider([["", ""], [""]], ["a", "b"])
