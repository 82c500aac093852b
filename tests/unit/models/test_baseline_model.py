"""Any image-to-text checkpoint captions; BLIP also says how likely a caption is."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from coloured import Coloured
from safetensors.torch import load_file, save_file
from tiny_checkpoints import blip2, checkpoint, git, pictures, vit_gpt2

from src.config import Baseline as Settings
from src.errors import UserError
from src.models.baseline import Baseline

CPU = torch.device("cpu")


@pytest.mark.parametrize("make", [vit_gpt2, git, blip2])
@pytest.mark.parametrize("prompt", ["", "a dog"])
def test_a_checkpoint_of_any_kind_captions_from_its_folder(make, prompt, tmp_path):
    settings = Settings(checkpoint=str(checkpoint(make, tmp_path, scale=8.0)), prompt=prompt, max_words=5)
    baseline = Baseline.open(settings).ready(CPU)
    captions = baseline.caption(pictures(3))
    assert len(captions) == 3 and all(captions)
    assert all(len(caption.split()) <= 5 for caption in captions)
    assert {word for caption in captions for word in caption.split()} <= {"<image>", "a", "dog", "cat", "runs", "sits"}


def test_a_model_that_is_no_blip_has_no_likelihoods(tmp_path):
    baseline = Baseline.open(Settings(checkpoint=str(checkpoint(git, tmp_path))))
    with pytest.raises(UserError, match="a git model: fine-tuning, likelihoods and reranking are BLIP's alone"):
        baseline.log_likelihood(pictures(1), [["a dog"]])


def test_a_prompt_is_gone_on_from_but_not_said(colours: Coloured, monkeypatch: pytest.MonkeyPatch):
    settings = replace(colours.baseline(), settings=colours.changed(prompt="a red").baseline)
    assert settings.script.prompt == colours.vocabulary.encode(["a", "red"])
    (caption,) = settings.ready(CPU).caption(colours.pictures("val")[:1])
    assert len(caption.split()) <= 6
    asked: list[list[int]] = []

    def generate(input_ids: torch.Tensor, **others: object) -> torch.Tensor:
        asked.extend(input_ids.tolist())
        answer = torch.tensor([[*colours.vocabulary.encode(["picture"]), settings.script.end]])
        return torch.cat([input_ids, answer.expand(len(input_ids), -1)], dim=1)

    monkeypatch.setattr(settings.model.text_decoder, "generate", generate)
    assert settings.caption(colours.pictures("val")[:2]) == ["picture"] * 2
    assert asked == [[settings.script.start, *settings.script.prompt]] * 2


def test_the_longest_captions_that_may_be_asked_for_are_read_and_said(colours: Coloured):
    longest = 125
    settings = colours.changed(prompt="a red", max_words=longest, beam_size=1)
    with pytest.raises(ValueError, match="room for 125 words"):
        colours.changed(prompt="a red", max_words=longest + 1)
    baseline = replace(colours.baseline(), settings=settings.baseline).ready(CPU)
    with torch.no_grad():
        baseline.model.text_decoder.cls.predictions.decoder.bias[colours.vocabulary.encode(["red"])] = 1e9  # no end
    assert len(baseline.caption(colours.pictures("val")[:1])[0].split()) == longest
    [[likely]] = baseline.log_likelihood(colours.pictures("val")[:1], [[" ".join(["red"] * longest)]])
    assert math.isfinite(likely)


def test_a_folder_with_pickles_alone_is_refused(tmp_path):
    folder = checkpoint(git, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        Baseline.open(Settings(checkpoint=str(folder)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can compute in fp16")
def test_a_checkpoint_that_lacks_weights_is_not_filled_up_at_random(colours: Coloured, tmp_path):
    colours.baseline().save(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    save_file({name: value for name, value in load_file(file).items() if "text_decoder" not in name}, file,
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(UserError, match="weights are missing"):
        Baseline.read(tmp_path / "model", Settings(checkpoint=str(tmp_path / "model")))


def test_a_checkpoint_without_its_words_is_refused(colours: Coloured, tmp_path):
    colours.baseline().save(tmp_path / "model")
    for file in (tmp_path / "model").glob("token*"):
        file.unlink()
    with pytest.raises(UserError, match=r"cannot be used"):
        Baseline.read(tmp_path / "model", Settings(checkpoint=str(tmp_path / "model")))


def test_a_damaged_checkpoint_is_one_line(colours: Coloured, tmp_path):
    colours.baseline().save(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be used"):
        Baseline.read(tmp_path / "model", Settings(checkpoint=str(tmp_path / "model")))


def test_fp16_without_a_gpu_is_refused(colours: Coloured):
    baseline = replace(colours.baseline(), settings=colours.changed(precision="fp16").baseline)
    with pytest.raises(UserError, match=r"baseline\.precision is fp16, which needs a GPU"):
        baseline.ready(CPU)


def test_a_saved_model_says_the_same_from_its_folder_alone(colours: Coloured, tmp_path):
    torch.manual_seed(1)
    baseline = colours.baseline()
    baseline.save(tmp_path / "model")
    again = Baseline.read(tmp_path / "model", baseline.settings)
    assert again.digest() == baseline.digest()
    seen = colours.pictures("test")
    assert again.ready(CPU).caption(seen) == baseline.ready(CPU).caption(seen)


def test_a_likelihood_is_what_the_models_own_loss_says(colours: Coloured):
    baseline = colours.baseline().ready(CPU)
    (picture, other), caption = colours.pictures("val")[:2], ["a", "red", "picture"]
    ids = torch.tensor([[baseline.script.start, *colours.vocabulary.encode(caption), baseline.script.end]])
    pixels = baseline.image_processor([picture], return_tensors="pt").pixel_values
    with torch.no_grad():
        loss = float(baseline.model(pixel_values=pixels, input_ids=ids, labels=ids).loss)
    found = baseline.log_likelihood([picture, other], [["this is blue", "A red picture."], []])
    assert found[1] == []
    assert found[0][1] == pytest.approx(-loss * 4, rel=1e-4)  # three words and the end
    assert all(math.isfinite(value) and value < 0 for value in found[0])


def test_a_model_that_changed_since_its_report_is_refused(colours: Coloured, tmp_path):
    places = colours.places_in(tmp_path)
    baseline = colours.baseline()
    with pytest.raises(UserError, match="dvc repro baseline"):
        Baseline.load(places, baseline.settings, CPU)
    baseline.save(places.baseline / "model")
    places.baseline_report.write_text(json.dumps({"digest": baseline.digest(), "checkpoint": "tiny"}))
    assert Baseline.load(places, baseline.settings, CPU).digest() == baseline.digest()
    places.baseline_report.write_text(json.dumps({"digest": "another", "checkpoint": "tiny"}))
    with pytest.raises(UserError, match="describes another model"):
        Baseline.load(places, baseline.settings, CPU)
