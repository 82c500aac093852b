"""What the loss counts: every word once, padding never, however captions are packed and batches are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional

from src.data.vocabulary import END, PAD, START
from src.training.batches import STEPS_AT_ONCE, Batch, CaptionedImages, pack
from src.training.objectives import ROWS, TeacherForcing, attention_coverage, cross_entropy


@pytest.fixture
def split() -> CaptionedImages:
    described = tiny.manifest(train=6)
    return CaptionedImages(described.split("train"), described.rows("train"), tiny.vocabulary(), 20)


def batch_of(split: CaptionedImages, *chosen: int) -> Batch:
    batch = split.pack(np.array(chosen, dtype=int))
    return replace(batch, grids=torch.from_numpy(tiny.grids(6)[batch.rows]))


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
def test_the_loss_of_packed_captions_is_the_sum_of_each_captions_own(split, rnn):
    decoder = tiny.decoder(rnn)
    alone = 0.0
    with torch.no_grad():
        for row, captions in enumerate(split.captions):
            for words in captions:
                memory, state = decoder.begin(torch.from_numpy(tiny.grids(6)[[row]]))
                for entered, target in zip([START, *words], [*words, END], strict=True):
                    log_probabilities, state, _ = decoder.next(torch.tensor([[entered]]), memory, state)
                    alone -= float(log_probabilities[0, 0, target])
        packed = TeacherForcing(decoder).eval()(batch_of(split, *range(6)))
    assert float(packed.nats) == pytest.approx(alone, rel=1e-5)


def test_what_stands_in_the_padding_changes_nothing(split):
    decoder = tiny.decoder()
    batch = batch_of(split, *range(6))
    padding = batch.targets == PAD
    other = replace(batch, inputs=batch.inputs.masked_fill(padding, 9))
    assert padding.any()

    def outcome(batch: Batch) -> list[torch.Tensor]:
        losses = TeacherForcing(decoder, 0.1, coverage=True).train()(batch)
        return [*losses[:2], *torch.autograd.grad(sum(losses), list(decoder.parameters()))]

    for first, second in zip(outcome(batch), outcome(other), strict=True):
        assert torch.equal(first, second)


def test_packed_into_few_shapes_captions_have_the_same_loss_and_gradients(split):
    decoder = tiny.decoder()
    batch = batch_of(split, *range(6))
    rounded = pack(split.captions, split.rows, few_shapes=True).with_grids(batch.grids)
    assert {rounded.active.count(count) % STEPS_AT_ONCE for count in set(rounded.active)} == {0}
    assert len(rounded.said) == rounded.targets.numel()

    def outcome(batch: Batch) -> list[torch.Tensor]:
        losses = TeacherForcing(decoder, 0.1, coverage=True).train()(batch)
        return [*losses[:2], *torch.autograd.grad(sum(losses), list(decoder.parameters()))]

    torch.testing.assert_close(outcome(rounded), outcome(batch))


@pytest.mark.parametrize("parts", [([0, 1, 2], [3, 4, 5]), ([4], [0, 1, 2, 3, 5]), ([], [0, 1, 2, 3, 4, 5])])
def test_the_gradients_of_parts_add_up_to_that_of_the_whole(split, parts):
    def gradients(*batches: Batch) -> list[torch.Tensor]:
        decoder = tiny.decoder()
        for batch in batches:
            sum(TeacherForcing(decoder, 0.1, coverage=True)(batch)).backward()
        return [parameter.grad for parameter in decoder.parameters()]

    whole = gradients(batch_of(split, *range(6)))
    for expected, added in zip(whole, gradients(*(batch_of(split, *part) for part in parts)), strict=True):
        torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-5)


def test_coverage_is_what_each_caption_left_unseen_or_saw_too_often(split):
    batch = batch_of(split, *range(6))
    attention = torch.rand(*batch.targets.shape, tiny.REGIONS)
    expected = 0.0
    for image in range(6):
        for slot in range(batch.active[0]):
            own = (batch.slot == slot) & (batch.targets[image] != PAD)
            if own.any():
                expected += sum((1 - float(seen)) ** 2 for seen in attention[image, own].sum(dim=0))
    assert float(attention_coverage(attention, batch)) == pytest.approx(expected, rel=1e-5)


def test_validation_is_measured_without_smoothing(split):
    teaching = TeacherForcing(tiny.decoder(), label_smoothing=0.3)
    plain = TeacherForcing(teaching.decoder)
    batch = batch_of(split, 0, 1)
    with torch.no_grad():
        assert float(teaching.eval()(batch).nats) == float(plain.eval()(batch).nats)
        assert float(teaching.train()(batch).nats) != pytest.approx(float(plain.train()(batch).nats), rel=1e-3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("words", [1, 5, ROWS + 3])
def test_cross_entropy_and_its_gradient_are_pytorchs(smoothing, words):
    torch.manual_seed(0)
    features, targets = torch.randn(words, 6, dtype=torch.float64), torch.randint(0, 11, (words,))

    def outcome(loss) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(1)
        vocab, entered = nn.Linear(6, 11, dtype=torch.float64), features.clone().requires_grad_()
        value = loss(entered, vocab)
        return value.detach(), *torch.autograd.grad(3 * value, [entered, *vocab.parameters()])

    own = outcome(lambda entered, vocab: cross_entropy(entered, vocab, targets, smoothing))
    pytorchs = outcome(
        lambda entered, vocab: functional.cross_entropy(
            vocab(entered), targets, label_smoothing=smoothing, reduction="sum"
        )
    )
    torch.testing.assert_close(own, pytorchs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("words", [5, 2 * ROWS + 3])
def test_the_outputs_of_a_decoder_are_squashed_and_dropped_as_it_does_it_itself(training, words):
    torch.manual_seed(0)
    outputs, targets = torch.randn(words, 8, dtype=torch.float64), torch.randint(0, 11, (words,))
    decoder, vocab = tiny.decoder(dropout=0.5).train(training), nn.Linear(8, 11, dtype=torch.float64)

    def outcome(loss) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(1)
        entered = outputs.clone().requires_grad_()
        value = loss(entered)
        return value.detach(), *torch.autograd.grad(3 * value, [entered, *vocab.parameters()])

    own = outcome(lambda entered: cross_entropy(entered, vocab, targets, 0.1, dropout=decoder.dropout))
    told = outcome(lambda entered: cross_entropy(decoder.features(entered), vocab, targets, 0.1))
    torch.testing.assert_close(own, told)


def test_half_precision_products_give_the_loss_in_single_precision(split):
    teaching = TeacherForcing(tiny.decoder(), 0.1).train()
    batch = batch_of(split, *range(6))
    with torch.autocast("cpu", torch.bfloat16):
        nats = teaching(batch).nats
    assert nats.dtype == torch.float32
    assert float(nats.detach()) == pytest.approx(float(teaching(batch).nats.detach()), rel=0.02)


def test_a_process_without_images_has_no_loss_and_a_gradient_of_zero(split):
    decoder = tiny.decoder(dropout=0.5).train()
    losses = TeacherForcing(decoder, 0.1, coverage=True)(batch_of(split))
    sum(losses).backward()
    assert [float(value.detach()) for value in losses[:2]] == [0.0, 0.0]
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in decoder.parameters())
