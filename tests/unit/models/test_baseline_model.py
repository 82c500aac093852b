"""Any image-to-text checkpoint captions; BLIP also says how likely a caption is."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coloured import Coloured
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from src.config import Baseline as Settings
from src.errors import UserError
from src.models.baseline import Baseline
from src.models.checkpoints import quietly

CPU = torch.device("cpu")
SIZE = {"height": 32, "width": 32}
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip
TEXT = {"vocab_size": 10, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
WORDS = ["<pad>", "<start>", "<end>", "<unk>", "<image>", "a", "dog", "cat", "runs", "sits"]


def tokeniser(**named: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>", bos_token="<start>", eos_token="<end>", unk_token="<unk>", **named,
    )  # fmt: skip


def vit_gpt2() -> list[Any]:
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
    from transformers import ViTImageProcessor as Processor

    text = GPT2Config(n_positions=64, n_embd=32, n_layer=1, n_head=2, add_cross_attention=True, is_decoder=True, **TEXT)
    both = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VISION), text)
    model = VisionEncoderDecoderModel(both)
    model.generation_config.update(decoder_start_token_id=1, pad_token_id=0, eos_token_id=2)
    return [model, Processor(size=SIZE), tokeniser()]


def git() -> list[Any]:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    shape = {name: VISION[name] for name in VISION if name not in ("image_size", "patch_size")}
    model = GitForCausalLM(GitConfig(vision_config=dict(VISION), max_position_embeddings=64, **shape, **TEXT))
    return [model, GitProcessor(CLIPImageProcessor(size=SIZE, do_center_crop=False), tokeniser(sep_token="<end>"))]


def blip2() -> list[Any]:
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor

    shape = {name: VISION[name] for name in VISION if name not in ("image_size", "patch_size")}
    text = {
        "model_type": "opt", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 64,
        "max_position_embeddings": 64, "word_embed_proj_dim": 32, **TEXT,
    }  # fmt: skip
    model = Blip2ForConditionalGeneration(
        Blip2Config(
            vision_config=dict(VISION),
            qformer_config={"vocab_size": 10, "encoder_hidden_size": 32, **shape},
            text_config=text,
            num_query_tokens=4,
            image_token_index=4,
        )
    )
    return [model, Blip2Processor(BlipImageProcessor(size=SIZE), tokeniser(), num_query_tokens=4)]


def checkpoint(make: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    with quietly():
        for part in make():
            part.save_pretrained(folder)
    return folder


def pictures(count: int) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 50, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("make", [vit_gpt2, git, blip2])
@pytest.mark.parametrize("prompt", ["", "a dog"])
def test_a_checkpoint_of_any_kind_captions_from_its_folder(make, prompt, tmp_path):
    settings = Settings(checkpoint=str(checkpoint(make, tmp_path)), prompt=prompt, max_words=5)
    baseline = Baseline.open(settings).ready(CPU)
    captions = baseline.caption(pictures(3))
    assert len(captions) == 3
    assert all(len(caption.split()) <= 5 for caption in captions)
    assert {word for caption in captions for word in caption.split()} <= {"<image>", "a", "dog", "cat", "runs", "sits"}


def test_a_model_that_is_no_blip_has_no_likelihoods(tmp_path):
    baseline = Baseline.open(Settings(checkpoint=str(checkpoint(git, tmp_path))))
    with pytest.raises(UserError, match="a git model: fine-tuning, likelihoods and reranking are BLIP's alone"):
        baseline.log_likelihood(pictures(1), [["a dog"]])


def test_a_prompt_is_gone_on_from_but_not_said(colours: Coloured):
    settings = replace(colours.baseline(), settings=colours.changed(prompt="a red").baseline)
    assert settings.script.prompt == colours.vocabulary.encode(["a", "red"])
    (caption,) = settings.ready(CPU).caption(colours.pictures("val")[:1])
    assert not caption.startswith("a red a red")
    assert len(caption.split()) <= 6


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"'nobody/nothing'.*cannot be reached.*Give a folder.*checkpoint=tiny"):
        Baseline.open(Settings(checkpoint="nobody/nothing"))
    assert time.perf_counter() - start < 20


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
