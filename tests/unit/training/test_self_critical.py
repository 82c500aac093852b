"""Captions are drawn and rewarded: the reward is the field's, the gradient the policy's, the run recoverable."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from pycocoevalcap.cider.cider import Cider

from src.data.vocabulary import END, PAD, START, UNK
from src.decoding.sampling import sample
from src.decoding.search import UNSAID, forbid
from src.models.decoder import Decoder
from src.precision import autocast
from src.training.batches import CaptionedImages, pack
from src.training.objectives import TeacherForcing
from src.training.resume import ResumeFolder
from src.training.self_critical import CiderReward, SelfCritical, _packed
from src.training.stopping import StopRequest

CPU = torch.device("cpu")


@pytest.fixture
def split() -> CaptionedImages:
    described = tiny.manifest(train=12)
    return CaptionedImages(described.split("train"), described.rows("train"), tiny.vocabulary(), 20)


def as_text(ids: list[int]) -> str:
    return " ".join(map(str, ids))


def test_the_reward_is_pycocoevalcaps_cider_on_ids_with_the_end_as_a_word(split):
    said = {row: [*split.captions[(row + 1) % len(split)][0], END] for row in range(len(split))}
    references = {row: [as_text([*ids, END]) for ids in own] for row, own in enumerate(split.captions)}
    _, expected = Cider().compute_score(references, {row: [as_text(ids)] for row, ids in said.items()})
    found = CiderReward(split)(split.rows, [[ids] for ids in said.values()])
    assert found[:, 0].numpy() == pytest.approx(expected, abs=1e-6)


def test_a_caption_that_stops_short_is_rewarded_less(split):
    whole = [*split.captions[0][0], END]
    rewards = CiderReward(split)(split.rows[:1], [[whole, whole[:-1]]])
    assert rewards[0, 0] > rewards[0, 1]


def test_every_word_of_a_caption_weighs_its_advantage_and_an_end_that_was_cut_nothing(split):
    batch = split.pack(np.array([0, 1]))
    captions = [[[5, END], [6, 7, 8]], [[END], [9, END]]]
    ended = [[True, False], [True, True]]
    advantages = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    drawn, weights = _packed(batch, captions, ended, advantages)
    where = [divmod(int(position), drawn.inputs.shape[1]) for position in drawn.said]
    found = sorted(
        (image, int(drawn.targets[image, position]), float(weight))
        for (image, position), weight in zip(where, weights, strict=True)
        if drawn.targets[image, position] != PAD
    )
    assert found == sorted(
        [
            *((0, 5, 1.0), (0, END, 1.0), (0, 6, 2.0), (0, 7, 2.0), (0, 8, 2.0), (0, END, 0.0)),
            *((1, END, 3.0), (1, 9, 4.0), (1, END, 4.0)),
        ]
    )


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
def test_the_gradient_is_that_of_the_weighted_log_probabilities(rnn, split):
    decoder = tiny.decoder(rnn)
    batch = pack([[[5, 6], [7]]], split.rows[:1]).with_grids(torch.from_numpy(tiny.grids(1)))
    weights = torch.linspace(-1, 1, len(batch.said))
    TeacherForcing(decoder).weighted(batch, weights).backward()
    found = {name: parameter.grad.clone() for name, parameter in decoder.named_parameters()}
    decoder.zero_grad()
    taught = decoder(batch.grids, batch.inputs, batch.active, batch.said)
    log_probabilities = forbid(decoder.vocab(decoder.features(taught.outputs))).log_softmax(dim=-1)
    targets = batch.targets.flatten()[batch.said]
    said = log_probabilities.gather(1, targets[:, None])[:, 0].where(targets != PAD, 0.0)
    (-(said * weights).sum()).backward()
    for name, parameter in decoder.named_parameters():
        assert torch.allclose(found[name], parameter.grad, atol=1e-6), name


def test_what_is_taught_is_what_was_drawn_from(split):
    """Were every caption of an image drawn as often as it may be, and all rewarded alike, nothing would be learnt."""
    decoder = tiny.decoder()
    decoder.vocab.bias.data[UNK] = 2.0
    words = [word for word in range(decoder.vocab.out_features) if word not in (*UNSAID, END)]
    captions = [[END], *([word, END] for word in words), *([first, second] for first in words for second in words)]
    images = split.pack(np.array([0])).with_grids(torch.from_numpy(tiny.grids(1)))
    shares = torch.tensor([_chance(decoder, images.grids, caption) for caption in captions])
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-5)
    drawn, weights = _packed(images, [captions], [[caption[-1] == END for caption in captions]], shares[None])
    TeacherForcing(decoder).weighted(drawn.with_grids(images.grids), weights).backward()
    assert all(parameter.grad.abs().max() < 1e-5 for parameter in decoder.parameters())


@torch.no_grad()
def _chance(decoder: Decoder, grids: torch.Tensor, caption: list[int]) -> float:
    """How often `sample` draws a caption."""
    memory, state = decoder.begin(grids, 1)
    word, chance = torch.full((1, 1), START), 1.0
    for said in caption:
        scores, state, _ = decoder.next(word, memory, state)
        chance *= float(forbid(scores).softmax(dim=-1)[0, 0, said])
        word = torch.full((1, 1), said)
    return chance


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_that_are_computed_again_give_the_same_gradient(split, precision):
    batch = split.pack(np.arange(4)).with_grids(torch.from_numpy(tiny.grids(4)))
    weights = torch.linspace(-1, 1, len(batch.said))

    def gradients(checkpointing: bool) -> list[torch.Tensor]:
        decoder = tiny.decoder()
        teaching = TeacherForcing(decoder, checkpointing=checkpointing, precision=precision)
        with autocast(CPU, precision):
            teaching.weighted(batch, weights).backward()
        return [parameter.grad for parameter in decoder.parameters()]

    # Each part's share of a sum is rounded, to eight bits in bf16.
    absolute, relative = (1e-5, 1e-5) if precision == "fp32" else (5e-2, torch.finfo(torch.bfloat16).eps)
    for first, second in zip(gradients(False), gradients(True), strict=True):
        assert torch.allclose(first, second, atol=absolute, rtol=relative)


def test_no_words_are_said_to_be_the_decoders_own_where_all_are():
    adapt = {**tiny.UNADAPTED, "most_sampling": 0.5, "sampling_step": 0.25}
    trainer = tiny.trainer(rewarded(self_critical_epochs=6, self_critical_learning_rate=0.5, adapt=adapt))
    run = tiny.Remembered()
    trainer.fit(run, None, StopRequest())
    assert not [event for event in run.events[1:] if "input words" in event]


def test_an_image_whose_samples_are_all_alike_teaches_nothing(split, monkeypatch):
    decoder = tiny.decoder()
    critical = SelfCritical(TeacherForcing(decoder), CiderReward(split), samples=3, max_words=4)
    monkeypatch.setattr(critical, "_draw", lambda grids: ([[[5, END]] * 3] * len(grids), [[True] * 3] * len(grids)))
    batch = split.pack(np.array([0, 1])).with_grids(torch.from_numpy(tiny.grids(2)))
    critical(batch).nats.backward()
    found = [parameter.grad for parameter in decoder.parameters() if parameter.grad is not None]
    assert found and not any(gradient.any() for gradient in found)


def rewarded(**more: object):
    train = {"epochs": 1, "self_critical_epochs": 2, "self_critical_learning_rate": 0.02, "save_every_steps": 1}
    return tiny.settings(train=train | more)


def test_the_reward_grows():
    trainer = tiny.trainer(rewarded(self_critical_epochs=40, self_critical_samples=16))
    run = tiny.Remembered()
    trainer.fit(run, None, StopRequest())
    rewards = [row["train_reward"] for row in run.rows.values() if "train_reward" in row]
    assert len(rewards) == 40
    assert np.mean(rewards[-5:]) > 1.3 * np.mean(rewards[:5])
    assert run.events == ["captions are drawn and rewarded by CIDEr-D from here on"]


def test_after_memory_ran_out_while_captions_were_drawn_they_are_still_taught_with_dropout(monkeypatch):
    trainer = tiny.trainer(rewarded())
    learning, calls = list[bool](), list[None]()

    def full(*arguments):
        calls.append(None)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return sample(*arguments)

    def noted(self, *arguments):
        learning.append(self.decoder.training)
        return weighted(self, *arguments)

    weighted = TeacherForcing.weighted
    monkeypatch.setattr("src.training.self_critical.sample", full)
    monkeypatch.setattr(TeacherForcing, "weighted", noted)
    trainer.fit(tiny.Remembered(), None, StopRequest())
    assert all(learning) and learning
    assert trainer.progress.micro_batch == 2


@pytest.mark.parametrize("steps", [3, 5, 8])
def test_interrupted_it_goes_on_to_the_same_weights(tmp_path, steps):
    whole = tiny.trainer(rewarded())
    whole.fit(tiny.Remembered(), None, StopRequest())
    folder = ResumeFolder(tmp_path, "run")
    with pytest.raises(SystemExit):
        tiny.trainer(rewarded()).fit(tiny.Remembered(), folder, tiny.StopAfter(steps))
    resumed = tiny.trainer(rewarded())
    resumed.restore(folder.load())
    resumed.fit(tiny.Remembered(), folder, StopRequest())
    expected = whole.state().tensors
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state().tensors.items())
    folder.close()
