"""Scheduled sampling puts the decoder's own words in place of some true ones, and leaves alone what is no word."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import tiny
import torch

from src.data.vocabulary import END, PAD, START
from src.models.decoder import Decoder
from src.training.batches import Batch, CaptionedImages
from src.training.objectives import TeacherForcing, own_words


@pytest.fixture
def batch() -> Batch:
    described = tiny.manifest(train=60)
    images = CaptionedImages(described.split("train"), described.rows("train"), tiny.vocabulary(), 20)
    packed = images.pack(np.arange(60))
    return replace(packed, grids=torch.from_numpy(tiny.grids(60)[packed.rows]).float())


@pytest.fixture
def decoder() -> Decoder:
    return tiny.decoder()


def sampled(decoder: Decoder, batch: Batch, share: float, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return own_words(decoder, decoder.look(batch.grids, batch.active[0]), batch, share)


def replaceable(batch: Batch) -> torch.Tensor:
    """Input words behind the first one, where something is still to be said."""
    allowed = batch.targets != PAD
    allowed[:, : batch.active[0]] = False
    return allowed


def test_about_the_asked_share_is_replaced(decoder, batch):
    marked = replace(batch, inputs=torch.where(replaceable(batch), PAD + 10**3, batch.inputs))
    decoder.embedding = torch.nn.Embedding(10**3 + 1, 5)  # a word that is never drawn stands everywhere
    for share in (0.1, 0.5, 1.0):
        replaced = (sampled(decoder, marked, share) != marked.inputs)[replaceable(batch)]
        assert float(replaced.float().mean()) == pytest.approx(share, abs=0.05)


def test_first_words_and_padding_are_never_replaced(decoder, batch):
    padding = (batch.targets == PAD) | (torch.arange(batch.inputs.shape[1]) < batch.active[0])
    assert (batch.targets == PAD).any()
    for seed in range(5):
        assert torch.equal(sampled(decoder, batch, 1.0, seed)[padding], batch.inputs[padding])


def test_no_mark_is_ever_drawn(decoder, batch):
    with torch.no_grad():
        decoder.vocab.bias[[PAD, START, END]] += 50.0  # what the decoder would like to say most
    drawn = sampled(decoder, batch, 1.0)[replaceable(batch)]
    assert not torch.isin(drawn, torch.tensor([PAD, START, END])).any()


def test_nothing_is_replaced_without_a_share(decoder, batch):
    assert torch.equal(sampled(decoder, batch, 0.0), batch.inputs)
    teaching = TeacherForcing(decoder)
    with torch.no_grad():
        assert float(teaching(batch, 0.0).nats) == float(teaching(batch).nats)


def test_the_inputs_of_the_batch_itself_stay_true(decoder, batch):
    before = batch.inputs.clone()
    sampled(decoder, batch, 0.9)
    assert torch.equal(batch.inputs, before)


def test_a_drawn_word_is_what_the_decoder_would_say_there(batch):
    """A decoder that is sure of its next word draws that one: each position's own, after the words truly before it."""
    decoder = tiny.decoder()
    with torch.no_grad():
        decoder.vocab.weight *= 1e3
        decoder.vocab.bias *= 1e3
        drawn = sampled(decoder, batch, 1.0)
        for image in range(3):
            for slot in range(batch.active[0]):
                here = ((batch.slot == slot) & (batch.targets[image] != PAD)).nonzero()[:, 0].tolist()
                memory, state = decoder.begin(batch.grids[[image]])
                for position, following in pairwise(here):
                    scores, state, _ = decoder.next(batch.inputs[image, position].view(1, 1), memory, state)
                    scores[..., [PAD, START, END]] = -torch.inf
                    assert int(drawn[image, following]) == int(scores.argmax())


def test_sampled_words_are_part_of_what_is_taught(decoder, batch):
    torch.manual_seed(0)
    with torch.no_grad():
        taught = TeacherForcing(decoder)(batch, 0.5).nats
        expected = TeacherForcing(decoder)(replace(batch, inputs=sampled(decoder, batch, 0.5))).nats
    assert float(taught) == float(expected)
