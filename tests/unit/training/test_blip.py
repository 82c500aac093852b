"""BLIP learns through the same loop as the recurrent decoder, whole or by adapters, and recovers as it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from coloured import COLOURS, Coloured

from src.config import Settings
from src.errors import UserError
from src.models import blip
from src.models.baseline import Baseline
from src.processes import Group
from src.training.blip import BlipLearner, BlipTeaching, TokenisedImages, moved
from src.training.resume import ResumeFolder
from src.training.stopping import StopRequest
from src.training.trainer import Trainer


def trainer(colours: Coloured, settings: Settings, group: Group = tiny.ALONE) -> Trainer[Any]:
    torch.manual_seed(settings.seed)
    baseline = Baseline.tiny(settings.baseline, colours.vocabulary)
    learner = BlipLearner(settings, colours.manifest, baseline, group)
    return Trainer(learner, settings.baseline.training, settings.seed, group)


def fitted(trainer: Trainer[Any], folder: ResumeFolder | None = None) -> Trainer[Any]:
    trainer.fit(tiny.Remembered(), folder, StopRequest())
    return trainer


def weights(trainer: Trainer[Any]) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in trainer.learner.weights().items()}


def test_a_small_blip_learns_colours_by_heart(colours: Coloured):
    settings = colours.changed(finetune_epochs=25)
    fit = fitted(trainer(colours, settings))
    fit.load_best()
    captions = fit.learner.finish().ready(torch.device("cpu")).caption(colours.pictures("test"))
    assert all(colour in caption for colour, caption in zip([*COLOURS, "red"], captions, strict=True)), captions
    assert fit.progress.best_cider > 2


@pytest.mark.parametrize("step", [3, 4])
def test_stopped_it_goes_on_to_the_same_weights(colours: Coloured, tmp_path, step):
    settings = colours.changed(adapt={**tiny.UNADAPTED, "ema_decay": 0.9}, gradient_checkpointing=True)
    whole = fitted(trainer(colours, settings))
    folder = ResumeFolder(tmp_path, "run")
    with pytest.raises(SystemExit):
        trainer(colours, settings).fit(tiny.Remembered(), folder, tiny.StopAfter(step))
    again = trainer(colours, settings)
    again.restore(folder.load())
    fitted(again, folder)
    folder.close()
    assert all(np.array_equal(value, weights(again)[name]) for name, value in weights(whole).items())


def gradients(colours: Coloured, **changes: Any) -> dict[str, torch.Tensor]:
    small = colours.settings.baseline.tiny.model_dump() | {"dropout": 0.0}
    fit = trainer(colours, colours.changed(augment=0.0, tiny=small, **changes))
    with pytest.raises(SystemExit):
        fit.fit(tiny.Remembered(), None, tiny.StopAfter(1))
    named = fit.learner.baseline.model.named_parameters()
    return {name: value.grad for name, value in named if value.grad is not None}


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"micro_batch_images": 1}])
def test_what_saves_memory_changes_no_gradient(colours: Coloured, changes):
    plain, sparing = gradients(colours), gradients(colours, **changes)
    assert plain.keys() == sparing.keys()
    for name, value in plain.items():
        torch.testing.assert_close(sparing[name], value, rtol=1e-3, atol=1e-6, msg=name)


def test_adapters_alone_learn_and_become_part_of_the_model(colours: Coloured, tmp_path):
    torch.manual_seed(0)
    start = colours.baseline()
    start.save(tmp_path / "model")
    settings = colours.changed(checkpoint=str(tmp_path / "model"), lora_rank=2)
    learner = BlipLearner(settings, colours.manifest, Baseline.open(settings.baseline), tiny.ALONE)
    fit = fitted(Trainer(learner, settings.baseline.training, 0, tiny.ALONE))
    learning = sum(value.size for value in weights(fit).values())
    assert 0 < learning < 0.05 * start.parameters
    pictures = colours.pictures("val")
    merged = learner.finish()
    merged.save(tmp_path / "tuned")
    again = Baseline.read(tmp_path / "tuned", settings.baseline)
    assert again.parameters == start.parameters
    assert again.digest() == merged.digest() != start.digest()
    assert again.ready(torch.device("cpu")).caption(pictures) == merged.caption(pictures)


def trained(group: Group, colours: Coloured) -> tuple[list[float], dict[str, np.ndarray]]:
    torch.set_num_threads(1)
    small = colours.settings.baseline.tiny.model_dump() | {"dropout": 0.0}
    fit = trainer(colours, colours.changed(augment=0.0, tiny=small), group)
    fitted(fit)
    return [row["train_loss"] for row in fit.progress.history], weights(fit)


def test_two_processes_end_with_equal_weights_and_the_losses_of_one(ranks, colours: Coloured):
    (first, mine), (second, theirs) = ranks(trained, colours)
    alone, _ = trained(tiny.ALONE, colours)
    assert first == second == pytest.approx(alone, rel=1e-3)
    assert all(np.array_equal(value, theirs[name]) for name, value in mine.items())


def test_validation_hears_what_the_baseline_says(colours: Coloured):
    """Though <unk> be the likeliest word, which it may not say."""
    torch.manual_seed(0)
    baseline = Baseline.tiny(colours.changed(beam_size=1).baseline, colours.vocabulary).ready(torch.device("cpu"))
    blip.vocab(baseline.model).bias.data[baseline.tokenizer.unk_token_id] = 9.0
    size = colours.settings.baseline.tiny.image_size
    pictures = [picture.resize((size, size)) for picture in colours.pictures("test")]
    pixels = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])
    batch = TokenisedImages(colours.manifest, "test", baseline.script, 6).pack(np.arange(len(pictures)))
    _, heard = BlipTeaching(baseline, 0.0, "fp32", 0.0).eval().examine(batch.with_grids(pixels))
    assert [" ".join(words) for words in heard] == baseline.caption(pictures)
    assert all(heard)


def test_pictures_are_moved_but_neither_mirrored_nor_recoloured():
    torch.manual_seed(0)
    ramp = torch.arange(24, dtype=torch.uint8).expand(5, 3, 24, 24).clone()
    ramp[:, 1] = 100 - 2 * ramp[:, 1]  # so that every colour is one of its own
    found = moved(ramp, 0.2)
    assert found.shape == ramp.shape and found.dtype == torch.uint8
    assert not torch.equal(found, ramp)
    assert (found[:, 0].int().diff(dim=2) >= 0).all()  # still from left to right
    colours, painted = ({*map(tuple, seen.movedim(1, 3).flatten(0, 2).tolist())} for seen in (found, ramp))
    assert colours <= painted
    assert torch.equal(moved(ramp, 0.0), ramp)


def test_a_model_that_is_no_blip_cannot_learn(colours: Coloured):
    baseline = colours.baseline()
    baseline.model.config.model_type = "git"
    with pytest.raises(UserError, match=r"set baseline\.finetune_epochs=0"):
        BlipLearner(colours.settings, colours.manifest, baseline, tiny.ALONE)
