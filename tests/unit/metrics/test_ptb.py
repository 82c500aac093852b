"""Captions become the tokens that pycocoevalcap makes of them, each in its own place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.metrics.java import JavaError
from src.metrics.ptb import tokenise


def test_captions_are_lower_case_without_punctuation():
    assert tokenise(['A man, "happy", isn\'t here -- or is he?', "Two (big) dogs."]) == [
        "a man happy is n't here or is he",
        "two -lrb- big -rrb- dogs",
    ]


def test_captions_without_words_keep_their_place():
    assert tokenise(["", "a dog", " ", "...", "", "a cat", ""]) == ["", "a dog", "", "", "", "a cat", ""]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_a_line_break_inside_a_caption_is_a_space(line_break):
    assert tokenise([f"a dog{line_break}runs", "a cat"]) == ["a dog runs", "a cat"]


def test_accents_and_other_scripts_survive():
    assert tokenise(["Un café à Zürich", "北京"]) == ["un café à zürich", "北京"]


def test_half_a_character_does_not_crash():
    assert tokenise(["a dog \ud83d runs", "a cat"]) == ["a dog runs", "a cat"]


def test_no_captions_need_no_java(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert tokenise([]) == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=60))
def test_any_text_gives_one_line_per_caption(captions):
    assert len(tokenise(captions)) == len(captions)


def test_java_that_hangs_is_given_up(stand_in):
    stand_in("exec sleep 60")
    with pytest.raises(JavaError, match=r"did not finish 1 captions in 0\.2 s: raise evaluate\.java_timeout"):
        tokenise(["a dog"], timeout=0.2)


def test_java_that_fails_is_quoted(stand_in):
    stand_in("echo 'OutOfMemoryError: heap' >&2; exit 3")
    with pytest.raises(JavaError, match=r"exit status 3.*OutOfMemoryError: heap"):
        tokenise(["a dog"])
