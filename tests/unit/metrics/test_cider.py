"""The fast CIDEr is the COCO tools' CIDEr."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider

from src.metrics.cider import CiderScorer, Evenly, ImageReferences, InverseDocumentFrequency


def say(text):
    return text.split()


words = st.lists(st.sampled_from(["a", "dog", "cat", "runs", "sits", "on", "grass", "red"]), max_size=14)
image = st.tuples(st.lists(words, min_size=1, max_size=5), words)
corpora = st.lists(image, min_size=1, max_size=6)


def by_pycocoevalcap(references, captions):
    gts = {i: [" ".join(words) for words in refs] for i, refs in enumerate(references)}
    res = {i: [" ".join(words)] for i, words in enumerate(captions)}
    return Cider().compute_score(gts, res)


@given(corpora.filter(lambda corpus: any(any(refs) for refs, _ in corpus)))
def test_equals_pycocoevalcap(corpus):
    references, captions = zip(*corpus, strict=True)
    overall, per_image = by_pycocoevalcap(references, captions)
    scores = CiderScorer(references).score(captions)
    assert scores == pytest.approx(per_image, abs=1e-9)
    assert scores.mean() == pytest.approx(overall, abs=1e-9)


@given(corpora)
def test_the_order_of_references_does_not_matter(corpus):
    references, captions = zip(*corpus, strict=True)
    turned = [refs[::-1] for refs in references]
    assert CiderScorer(references).score(captions) == pytest.approx(CiderScorer(turned).score(captions))


def test_a_caption_equal_to_its_only_reference_scores_ten():
    references = [[say("a b c d e")], [say("v w x y z")]]
    assert CiderScorer(references).score([refs[0] for refs in references]) == pytest.approx([10, 10])


def test_words_may_be_ids():
    text = [[say("a b c d"), say("a c")], [say("e f")]]
    number = {word: i for i, word in enumerate("abcdef")}
    ids = [[[number[word] for word in caption] for caption in refs] for refs in text]
    from_text = CiderScorer(text).score([say("a b d"), say("f")])
    assert CiderScorer(ids).score([[0, 1, 3], [5]]) == pytest.approx(from_text)


def test_document_frequencies_may_come_from_another_corpus():
    corpus = [[say("a dog runs")], [say("a cat sits")], [say("a red bus")]]
    alone = CiderScorer(corpus[:1], idf=InverseDocumentFrequency(corpus))
    expected = CiderScorer(corpus).score([say("a dog"), [], []])[0]
    assert alone.score([say("a dog")])[0] == pytest.approx(expected)


def test_an_image_without_references_is_named():
    with pytest.raises(ValueError, match="image 1 of 2 has no references"):
        CiderScorer([[["a"]], []])


def test_one_caption_per_image_is_asked_for():
    with pytest.raises(ValueError, match="2 captions for 1 images"):
        CiderScorer([[["a"]]]).score([["a"], ["b"]])


def test_an_unsplit_caption_is_refused():
    with pytest.raises(TypeError, match="split 'a dog' into words"):
        CiderScorer([[say("a dog")]]).score(["a dog"])


def test_without_a_corpus_all_ngrams_tell_the_same():
    own = ImageReferences([["a", "dog", "runs", "home"], ["a", "cat"]], Evenly())
    first, second = own.similarities(["a", "dog", "runs", "home"])
    assert first == pytest.approx(10.0)
    # One of four words, and one of two: 1 / (2 * sqrt(2)) of the cosine of words, two words shorter.
    assert second == pytest.approx(10.0 / 4 / (2 * 2**0.5) * math.exp(-((3 - 1) ** 2) / (2 * 6.0**2)))
