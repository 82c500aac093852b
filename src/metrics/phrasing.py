"""How a model speaks, whatever it speaks of: length, words, repetition, and what it says by heart."""

from __future__ import annotations

from collections.abc import Collection, Sequence

Words = tuple[str, ...]


def phrasing(captions: Sequence[Words], training: Collection[Words]) -> dict[str, float]:
    """Figures of all captions of one model.

    Args:
        captions: one per image, in the words of `src.data.tokens`.
        training: people's captions of the training images, in the same words.

    Returns:
        caption_length, the mean number of words; vocabulary_used, how many different words are said; novel_captions,
        the share of captions that are no training caption; unique_captions, the number of different captions over that
        of images.
    """
    known = training if isinstance(training, set | frozenset) else set(training)
    images = len(captions)
    return {
        "caption_length": sum(map(len, captions)) / images,
        "vocabulary_used": len({word for caption in captions for word in caption}),
        "novel_captions": sum(caption not in known for caption in captions) / images,
        "unique_captions": len(set(captions)) / images,
    }
