"""Semantic similarity follows the meaning that word vectors give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.metrics.similarity import load_vectors, semantic_similarity

GLOVE = "east 1 0\nnorth 0 1\nwest -1 0\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE)
    return path


def similarity(references, caption, glove="default"):
    return semantic_similarity([references], [caption], glove).overall


@pytest.mark.parametrize(
    ("reference", "caption", "cosine"),
    [("east", "east", 1), ("east", "north", 0), ("east", "west", -1), ("east", "east north", 2**-0.5)],
)
def test_it_is_the_cosine_of_averaged_vectors(glove, reference, caption, cosine):
    assert similarity([reference], caption, glove) == pytest.approx(cosine)


def test_it_is_averaged_over_references(glove):
    assert similarity(["east", "north", "west", "east"], "east", glove) == pytest.approx((1 + 0 - 1 + 1) / 4)


def test_unknown_words_change_nothing(glove):
    assert similarity(["east zzz"], "yyy east xxx", glove) == pytest.approx(1)


@pytest.mark.parametrize("caption", ["", "zzz", "east west"])
def test_a_caption_without_direction_scores_nothing(glove, caption):
    assert similarity(["east"], caption, glove) == 0


def test_no_known_word_anywhere_scores_nothing():
    assert similarity(["qqzzqq"], "zzqqzz") == 0


def test_the_corpus_figure_is_the_mean(glove):
    measured = semantic_similarity([["east"], ["east"]], ["east", "north"], glove)
    assert measured.overall == pytest.approx(0.5)
    assert measured.per_image == [pytest.approx(1), pytest.approx(0)]


def test_the_packaged_vectors_know_that_a_puppy_is_a_dog():
    assert similarity(["a dog runs"], "a puppy runs") > similarity(["a dog runs"], "a bank runs")


def test_the_packaged_vectors_are_the_published_ones():
    np.testing.assert_allclose(load_vectors(["the"])["the"][:4], [0.418, 0.24968, -0.41242, 0.1217], rtol=1e-6)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["east", "north", "zzz"]), min_size=1).filter(lambda words: set(words) != {"zzz"}))
def test_a_caption_equal_to_its_reference_scores_one(tmp_path_factory, words):
    path = tmp_path_factory.getbasetemp() / "glove.txt"
    path.write_text(GLOVE)
    assert similarity([" ".join(words)], " ".join(words), path) == pytest.approx(1)


def test_words_with_spaces_in_a_published_file_are_passed_over(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("north 0 1\nat name@domain.com 9 9\nat 1 0\n")
    assert load_vectors(["at"], path)["at"].tolist() == [1, 0]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.txt is missing: evaluate\.glove"):
        load_vectors(["a"], tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("400000 50\nthe 1 0\n", "line 1: .* is not a word and its vector"),
        ("the 1 0\na 1 x\n", "line 2: .* is not a word and its vector"),
        ("the 1 0\na 1\n", "line 2: 1 numbers, where line 1 has 2"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(tmp_path, text, complaint):
    path = tmp_path / "glove.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        load_vectors(["a", "the"], path)
