"""How a model speaks, counted by hand."""

from src.metrics.phrasing import phrasing


def test_length_words_novelty_and_repetition():
    captions = [("a", "dog"), ("a", "dog"), ("a", "black", "cat", "sits"), ()]
    assert phrasing(captions, {("a", "dog"), ("a", "cat")}) == {
        "caption_length": 2.0,
        "vocabulary_used": 5,
        "novel_captions": 0.5,
        "unique_captions": 0.75,
    }
