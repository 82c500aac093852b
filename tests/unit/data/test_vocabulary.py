import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.reading import DataError
from src.data.vocabulary import END, PAD, SPECIALS, START, UNK, Vocabulary

word = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1).filter(lambda text: text not in SPECIALS)


def test_words_are_numbered_from_common_to_rare_after_the_specials():
    vocabulary = Vocabulary.build([["a", "dog", "runs"], ["a", "cat", "runs"], ["a", "bird"]])
    assert vocabulary.words == ("<pad>", "<start>", "<end>", "<unk>", "a", "runs", "bird", "cat", "dog")


def test_words_below_the_minimum_count_are_unknown():
    vocabulary = Vocabulary.build([["a", "dog"], ["a", "cat"], ["a", "dog"]], min_count=2)
    assert "cat" not in vocabulary
    assert vocabulary.encode(["a", "cat"]) == [4, UNK]


def test_decoding_stops_at_the_end():
    vocabulary = Vocabulary(["a", "dog"])
    assert vocabulary.decode([START, 4, 5, END, 4, PAD]) == ["a", "dog"]


def test_an_unknown_word_is_said_as_such():
    assert Vocabulary(["a"]).decode([4, UNK]) == ["a", "<unk>"]


def test_a_caption_cannot_spell_a_special():
    vocabulary = Vocabulary.build([["<end>", "dog"]])
    assert vocabulary.encode(["<end>", "dog"]) == [UNK, 4]


@given(st.lists(word, unique=True))
def test_known_words_survive_encoding_and_decoding(words):
    vocabulary = Vocabulary(words)
    assert vocabulary.decode(vocabulary.encode(words)) == words


@given(st.lists(st.lists(word)), st.integers(1, 4))
def test_the_order_of_captions_does_not_matter(captions, minimum):
    assert Vocabulary.build(captions, minimum) == Vocabulary.build(captions[::-1], minimum)


@given(st.lists(word, unique=True))
def test_a_saved_vocabulary_is_the_same_when_loaded(tmp_path_factory, words):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.json"
    Vocabulary(words).save(path)
    assert Vocabulary.load(path) == Vocabulary(words)


def test_a_vocabulary_that_repeats_a_word_is_refused():
    with pytest.raises(ValueError, match="once"):
        Vocabulary(["dog", "dog"])


@pytest.mark.parametrize(
    ("stored", "complaint"),
    [
        ({"specials": ["<start>", "<pad>", "<end>", "<unk>"], "words": ["a"]}, "numbers the specials"),
        ({"specials": list(SPECIALS), "words": ["a", "a"]}, "once"),
        ({"specials": list(SPECIALS), "words": ["a", 3]}, "not text"),
        ({"words": ["a"]}, "is not a vocabulary"),
        (["a"], "is not a vocabulary"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, stored, complaint):
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(stored))
    with pytest.raises(DataError, match=complaint):
        Vocabulary.load(path)


def test_a_missing_vocabulary_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(DataError, match="dvc repro prepare"):
        Vocabulary.load(tmp_path / "vocabulary.json")
