"""Packing loses no word, and epochs visit every image."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.vocabulary import END, PAD, START
from src.training.batches import POSITIONS_AT_ONCE, WORDS_AT_ONCE, Batch, CaptionedImages, pack, read_ahead
from src.training.grids import GridReader

CPU = torch.device("cpu")
captions = st.lists(st.lists(st.sampled_from(tiny.WORDS), min_size=1, max_size=9).map(tuple), min_size=1, max_size=5)


def captioned(images: list[list[tuple[str, ...]]], max_words: int = 20) -> CaptionedImages:
    records = [tiny.image(number, words=tuple(words)) for number, words in enumerate(images)]
    return CaptionedImages(records, range(100, 100 + len(images)), tiny.vocabulary(), max_words)


def unpacked(batch: Batch) -> list[list[tuple[list[int], list[int]]]]:
    """What each slot of each image continues from, and what it should say, padding left out."""
    return [
        [
            (
                [int(word) for word in batch.inputs[image][batch.slot == slot][said[batch.slot == slot]]],
                [int(word) for word in batch.targets[image][batch.slot == slot][said[batch.slot == slot]]],
            )
            for slot in range(batch.active[0])
        ]
        for image in range(len(batch.rows))
        for said in [batch.targets[image] != PAD]
    ]


@given(st.lists(captions, min_size=1, max_size=5), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_every_caption_can_be_read_back_from_its_slot(images, max_words):
    split = captioned(images, max_words)
    packed = unpacked(split.pack(np.arange(len(images))))
    for words, slots in zip(images, packed, strict=True):
        expected = sorted(tiny.vocabulary().encode(caption[:max_words]) for caption in words)
        assert sorted(target[:-1] for _, target in slots if target) == expected
        assert all(target[-1] == END and entered == [START, *target[:-1]] for entered, target in slots if target)


@given(st.lists(captions, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_fewer_and_fewer_captions_take_part_and_all_positions_are_theirs(images):
    batch = captioned(images).pack(np.arange(len(images)))
    assert list(batch.active) == sorted(batch.active, reverse=True)
    assert sum(batch.active) == batch.inputs.shape[1] == batch.targets.shape[1] == len(batch.slot)
    longest = 1 + max(len(caption) for words in images for caption in words)
    assert longest <= len(batch.active) < longest + POSITIONS_AT_ONCE


@given(st.lists(captions, min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_words_and_captions_are_counted_as_they_are_packed(images):
    split = captioned(images)
    everyone = np.arange(len(images))
    batch = split.pack(everyone)
    assert split.count(everyone) == (int((batch.targets != PAD).sum()), batch.captions)
    assert batch.captions == sum(len(words) for words in images)


def test_a_batch_names_the_rows_of_its_images_in_the_cache():
    split = captioned([[("a",)], [("dog",)], [("cat",)]])
    assert split.pack(np.array([2, 0])).rows.tolist() == [102, 100]


def test_a_word_that_is_not_known_is_learnt_as_unknown():
    batch = captioned([[("a", "zebra")]]).pack(np.array([0]))
    assert batch.targets[0, :3].tolist() == [*tiny.vocabulary().encode(["a", "zebra"]), END]


def test_a_batch_of_no_image_has_nothing_to_say():
    batch = captioned([[("a", "dog")]]).pack(np.array([], dtype=np.int64))
    assert batch.inputs.shape == batch.targets.shape == (0, 1)
    assert (batch.active, batch.captions) == ((1,), 0)


@given(st.integers(1, 90), st.integers(1, 7), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_an_epoch_visits_each_image_once_in_full_batches_but_one(images, size, epoch, seed):
    order = captioned([[("a",)]] * images).order(epoch, size, seed)
    assert sorted(int(index) for chosen in order for index in chosen) == list(range(images))
    assert sorted(map(len, order), reverse=True)[: images // size] == [size] * (images // size)
    assert len(order) == -(-images // size)


@pytest.fixture
def split() -> CaptionedImages:
    described = tiny.manifest(train=200)
    return CaptionedImages(described.split("train"), described.rows("train"), tiny.vocabulary(), 20)


def test_the_order_of_an_epoch_is_a_function_of_seed_and_epoch(split):
    def order(epoch: int, seed: int) -> list[list[int]]:
        return [chosen.tolist() for chosen in split.order(epoch, 8, seed)]

    assert order(3, seed=1) == order(3, seed=1)
    assert order(3, seed=1) != order(4, seed=1) != order(4, seed=2)


def test_images_with_captions_of_like_length_share_a_batch(split):
    def spread(batches: list[np.ndarray]) -> float:
        longest = [[len(split.captions[index][0]) for index in chosen] for chosen in batches]
        return float(np.mean([max(lengths) - min(lengths) for lengths in longest]))

    at_random = np.array_split(np.random.default_rng(0).permutation(200), 25)
    assert spread(split.order(0, 8, 0)) < 0.5 * spread(at_random)


def test_long_and_short_captions_come_mixed_through_the_epoch(split):
    lengths = [len(split.captions[chosen[0]][0]) for chosen in split.order(0, 8, 0)]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))


def test_each_batch_is_read_with_the_grids_of_its_own_images():
    split = captioned([[("a",)], [("dog",)], [("cat",)]])
    grids = tiny.grids(103)
    order = [np.array([2]), np.array([0, 1])]
    for chosen, batch in zip(order, read_ahead(split, order, GridReader(grids), CPU), strict=True):
        assert batch.grids is not None
        assert np.array_equal(batch.grids.numpy(), grids[100 + chosen])


def test_one_batch_is_read_ahead_and_no_more():
    split = captioned([[("a",)]] * 8)
    read: list[int] = []

    def reader(rows: np.ndarray) -> torch.Tensor:
        read.extend(rows.tolist())
        return torch.zeros(len(rows), tiny.REGIONS, tiny.FEATURES)

    order = [np.array([index]) for index in range(8)]
    for taken, _ in enumerate(read_ahead(split, order, reader, CPU), start=1):
        assert taken <= len(read) <= taken + 1


def test_a_grid_that_cannot_be_read_is_no_end_of_the_epoch():
    def reader(rows: np.ndarray) -> torch.Tensor:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        list(read_ahead(captioned([[("a",)]]), [np.array([0])], reader, CPU))


def test_an_empty_order_gives_no_batch():
    assert list(read_ahead(captioned([[("a",)]]), [], GridReader(tiny.grids(1)), CPU)) == []


@pytest.mark.parametrize("seed", range(5))
def test_batches_come_in_few_sizes(seed):
    """A CPU prepares matrix products for each size anew, and keeps what it prepared."""
    random = np.random.default_rng(seed)
    captions = [sorted(([7] * random.integers(1, 19) for _ in range(5)), key=len, reverse=True) for _ in range(32)]
    batch = pack(captions, np.arange(32))
    words = sum(len(ids) + 1 for own in captions for ids in own)
    assert sum(batch.active) % POSITIONS_AT_ONCE == 0
    assert len(batch.said) % WORDS_AT_ONCE == 0
    assert int((batch.targets.flatten()[batch.said] != PAD).sum()) == words
