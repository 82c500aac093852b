"""A vision-language model that is asked through its chat template captions as every other checkpoint does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_checkpoints import IMAGE, WORDS, checkpoint, llava, pictures, qwen2_vl

from src.config import Baseline as Settings
from src.errors import UserError
from src.models.baseline import QUESTION, Baseline

KINDS = pytest.mark.parametrize("make", [llava, qwen2_vl])


def opened(folder: Path, **changes: Any) -> Baseline:
    settings = {"checkpoint": str(folder), "prompt": "a dog", "max_words": 5, "precision": "fp32"} | changes
    return Baseline.open(Settings(**settings)).ready(torch.device("cpu"))


@KINDS
@pytest.mark.parametrize("beams", [1, 3])
def test_pictures_of_different_sizes_are_captioned_together_as_alone(make, beams, tmp_path):
    baseline = opened(checkpoint(make, tmp_path, scale=4.0), beam_size=beams)
    seen = pictures(6, taller=9)
    captions = baseline.caption(seen)
    assert captions == [baseline.caption([picture])[0] for picture in seen]
    assert len(set(captions)) > 1
    assert all(len(caption.split()) <= 5 for caption in captions)
    assert {word for caption in captions for word in caption.split()} <= {"a", "dog", "cat", "runs", "sits"}


@KINDS
def test_of_question_and_answer_the_answer_is_the_caption(make, tmp_path, monkeypatch):
    baseline = opened(checkpoint(make, tmp_path))
    answer = torch.tensor([[1, 6, IMAGE, 8, 2, 0]])

    def generate(input_ids: torch.Tensor, **others: Any) -> torch.Tensor:
        return torch.cat([input_ids, answer.expand(len(input_ids), -1)], dim=1)

    monkeypatch.setattr(baseline.model, "generate", generate)
    assert baseline.caption(pictures(3, taller=20)) == ["dog runs"] * 3


@KINDS
@pytest.mark.parametrize(("prompt", "asked"), [("a cat sits", "a cat sits"), ("", QUESTION)])
def test_each_picture_is_asked_about_once(make, prompt, asked, tmp_path):
    baseline = opened(checkpoint(make, tmp_path), prompt=prompt)
    inputs = baseline._inputs(pictures(2, taller=20))
    known = [WORDS.index(word) if word in WORDS else WORDS.index("<unk>") for word in asked.split()]
    for ids, mask in zip(inputs["input_ids"].tolist(), inputs["attention_mask"].bool().tolist(), strict=True):
        question = [number for number, kept in zip(ids, mask, strict=True) if kept]
        assert ids[-len(question) :] == question
        words = question[question.index(IMAGE) :]
        assert [number for number in words if number != IMAGE][: len(known)] == known


def test_a_tokeniser_without_padding_pads_all_the_same(tmp_path):
    def unpadded() -> list[Any]:
        model, processor = qwen2_vl()
        processor.tokenizer.pad_token = None
        return [model, processor]

    baseline = opened(checkpoint(unpadded, tmp_path, scale=4.0))
    seen = pictures(3, taller=20)
    assert baseline.caption(seen) == [baseline.caption([picture])[0] for picture in seen]


def test_a_package_that_a_processor_lacks_is_one_line(tmp_path, monkeypatch):
    from transformers import AutoProcessor

    def lacking(*arguments: Any, **options: Any) -> Any:
        raise ImportError("Package `num2words` is required: pip install num2words")

    folder = checkpoint(llava, tmp_path)
    monkeypatch.setattr(AutoProcessor, "from_pretrained", lacking)
    with pytest.raises(UserError, match=r"cannot be used .*pip install num2words"):
        opened(folder)


def test_a_checkpoint_that_brings_a_program_is_refused_without_a_question(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *asked: "y")
    (tmp_path / "config.json").write_text(
        '{"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForImageTextToText": "own.Model"}}'
    )
    (tmp_path / "own.py").write_text("raise SystemExit('the program ran')")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="cannot be used"):
        opened(tmp_path)
