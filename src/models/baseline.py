"""The baseline: an image-to-text model of Hugging Face Transformers, BLIP above all, that captions pictures.

    baseline = Baseline.load(Places(), settings.baseline, device)
    baseline.caption([picture]), baseline.log_likelihood([picture], [["a dog runs", "a cat"]])

Weights are read from safetensors alone, and no code comes with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from safetensors import SafetensorError

from src import config
from src.data.tokens import words
from src.data.vocabulary import Vocabulary
from src.encoders.encoder import digest
from src.errors import UserError
from src.files import write_folder
from src.hub import fetch, quietly
from src.models import blip
from src.places import Places
from src.precision import computed, refuse_without_gpu

TINY, NONE = "tiny", "none"
ARCHITECTURE = "blip"
"""What Transformers calls BLIP."""
KEY = "baseline.checkpoint"
MODEL_FOLDER = "model"
ABSENT_FILE = "absent.json"
QUESTION = "Describe the picture in one short sentence."
"""Asked of a model that follows instructions, where no prompt is given."""


@dataclass
class Baseline:
    """A model with what turns pictures and text into its inputs.

    Attributes:
        processor: of pictures and text together; None where a checkpoint has the two apart.
    """

    model: Any
    image_processor: Any
    tokenizer: Any
    processor: Any
    settings: config.Baseline

    @classmethod
    def open(cls, settings: config.Baseline) -> Baseline:
        """The checkpoint of `settings` as it was published.

        Raises:
            UserError: it is neither a folder nor to be had from the hub, holds no safetensors, or turns no images into
                text.
        """
        return cls.read(fetch(settings.checkpoint, KEY, TINY), settings)

    @classmethod
    def load(cls, places: Places, settings: config.Baseline, device: torch.device) -> Baseline:
        """The model that the stage `baseline` used, ready to caption.

        Raises:
            UserError: the stage has not run, or its model has changed since.
        """
        if not places.baseline_report.exists():
            raise UserError(f"{places.baseline_report} is missing: run `dvc repro baseline`")
        report = json.loads(places.baseline_report.read_text(encoding="utf-8"))
        if report["checkpoint"] == NONE:
            raise UserError(f"{KEY} is {NONE}: choose one for decode.rerank and train.distill")
        folder = places.baseline / MODEL_FOLDER
        found = cls.read(folder if folder.exists() else fetch(report["checkpoint"], KEY, TINY), settings)
        if found.digest() != report["digest"]:
            raise UserError(f"{places.baseline_report} describes another model: run `dvc repro -f baseline`")
        return found.ready(device)

    @classmethod
    def read(cls, folder: Path, settings: config.Baseline) -> Baseline:
        """A model and its processor from one folder, in the precision in which they are stored."""
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

        def part(kind: Any, **wanted: Any) -> Any:
            # Not trusted, rather than asked about at the terminal: a checkpoint that brings a program is refused.
            return kind.from_pretrained(folder, trust_remote_code=False, **wanted)

        with quietly():
            try:
                model, loading = part(
                    AutoModelForImageTextToText, use_safetensors=True, dtype="auto", output_loading_info=True
                )
                if missing := sorted(loading["missing_keys"]):  # they would be random
                    raise ValueError(f"{len(missing)} of its weights are missing, {missing[0]} for one")
                processor = part(AutoProcessor)
                if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
                    processor = None
                image_processor = processor.image_processor if processor else part(AutoImageProcessor)
                tokenizer = processor.tokenizer if processor else part(AutoTokenizer)
                if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
                    raise ValueError("its tokeniser knows no word: tokenizer.json or vocab.txt is missing")
            except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
                reason = " ".join(str(error).split())[:300]
                raise UserError(
                    f"{KEY} {settings.checkpoint!r} cannot be used ({reason}): it must be an "
                    "image-to-text model of Transformers with safetensors weights, in a folder or on the hub; "
                    f"{KEY}={TINY} needs none"
                ) from error
        return cls(model.eval(), image_processor, tokenizer, processor, settings)

    @classmethod
    def tiny(cls, settings: config.Baseline, vocabulary: Vocabulary) -> Baseline:
        """A small BLIP that has learnt nothing yet."""
        model, processor = blip.build(settings.tiny, vocabulary)
        return cls(model, processor.image_processor, processor.tokenizer, processor, settings)

    @property
    def architecture(self) -> str:
        """What Transformers calls models of this kind: blip, git, llava, ..."""
        return str(self.model.config.model_type)

    @property
    def is_blip(self) -> bool:
        return self.architecture == ARCHITECTURE

    @property
    def script(self) -> blip.Script:
        """How BLIP reads and writes captions.

        Raises:
            UserError: it is another model.
        """
        if not self.is_blip:
            raise UserError(
                f"{self.settings.checkpoint} is a {self.architecture} model: fine-tuning, likelihoods and "
                "reranking are BLIP's alone (set baseline.finetune_epochs=0, decode.rerank=none)"
            )
        return blip.Script(self.model, self.tokenizer, self.settings.prompt)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def digest(self) -> str:
        """Names the weights, as they are stored."""
        return digest(dict(self.model.named_parameters()))

    def ready(self, device: torch.device) -> Baseline:
        """To caption: on its device, in the precision of the settings.

        Raises:
            UserError: fp16 without a GPU.
        """
        refuse_without_gpu(self.settings.precision, device, "baseline")
        self.model.to(device, computed(self.settings.precision, device)).eval()
        return self

    def save(self, folder: Path) -> None:
        """Write model and processor so that the folder alone is enough to load them."""
        with write_folder(folder) as temporary, quietly():
            self.model.save_pretrained(temporary)
            for part in [self.processor] if self.processor else [self.image_processor, self.tokenizer]:
                part.save_pretrained(temporary)

    def pixels(self, image: Image.Image) -> UInt8[np.ndarray, "3 row column"]:
        """An RGB picture at the model's size, as the processor makes it, not scaled yet."""
        found = self.image_processor([image], do_rescale=False, do_normalize=False, return_tensors="np").pixel_values[0]
        return np.ascontiguousarray(found, dtype=np.uint8)

    @property
    def limits(self) -> dict[str, Any]:
        """What every caption keeps to, whichever way it is searched for: its length, and no unknown word."""
        limits: dict[str, Any] = {"max_new_tokens": self.settings.max_words, "do_sample": False}
        unknown = self.tokenizer.unk_token_id
        named = {self.tokenizer.eos_token_id, self.tokenizer.bos_token_id, self.tokenizer.pad_token_id}
        if unknown is not None and unknown not in named:  # GPT-2 has one token for all of them
            limits["suppress_tokens"] = [unknown]
        return limits

    @torch.inference_mode()
    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        """What the model says of RGB pictures, which are computed at once.

        A prompt is no part of what is returned.
        """
        if not images:
            return []
        search = {**self.limits, "num_beams": self.settings.beams}
        if self.is_blip:
            return self.script.say(self.model, self._look(images), **search)
        inputs = self._inputs(images).to(self.model.device)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(self.model.dtype)
        ids = self.model.generate(**inputs, **search)
        asked = inputs.get("decoder_input_ids", inputs.get("input_ids"))
        if asked is not None and ids.shape[1] >= asked.shape[1] and torch.equal(ids[:, : asked.shape[1]], asked):
            ids = ids[:, asked.shape[1] :]
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(text.removeprefix(self.settings.prompt).split()) for text in texts]

    @torch.inference_mode()
    def log_likelihood(self, images: Sequence[Image.Image], captions: Sequence[Sequence[str]]) -> list[list[float]]:
        """Natural logarithm of the probability of each of an image's captions, the end included, given the image.

        Args:
            captions: as many lists as images; a list may be empty.

        Raises:
            UserError: the model is no BLIP.
        """
        script = self.script
        if not any(captions):
            return [[] for _ in captions]
        taught = script.lesson([[script.encode(words(caption)) for caption in own] for own in captions])
        taught = taught.to(self.model.device)
        said = taught.targets != blip.NOTHING
        logits = blip.vocab(self.model)(blip.spoken(self.model, self._look(images), taught)).float()
        found = torch.zeros(said.shape, device=logits.device)
        found[said] = logits.log_softmax(dim=-1).gather(1, taught.targets[said][:, None])[:, 0]
        totals = found.sum(dim=2).tolist()
        return [total[: len(own)] for total, own in zip(totals, captions, strict=True)]

    def _look(self, images: Sequence[Image.Image]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack([self.pixels(image) for image in images])).to(self.model.device)
        scaling = blip.Scaling(self.image_processor).to(self.model.device)
        return blip.look(self.model, scaling(pixels).to(self.model.dtype))

    def _inputs(self, images: Sequence[Image.Image]) -> Any:
        """What `generate` is to be given, for models of every kind."""
        prompt = self.settings.prompt
        if self.processor is None:
            inputs = self.image_processor(list(images), return_tensors="pt")
            if prompt:
                begin = [self.model.generation_config.decoder_start_token_id]
                begin += self.tokenizer(prompt, add_special_tokens=False).input_ids
                inputs["decoder_input_ids"] = torch.tensor([begin]).expand(len(images), -1)
            return inputs
        if getattr(self.processor, "chat_template", None):
            if self.tokenizer.pad_token is None:
                self.tokenizer.pad_token = self.tokenizer.eos_token
            talks = [
                [
                    {
                        "role": "user",
                        "content": [{"type": "image", "image": image}, {"type": "text", "text": prompt or QUESTION}],
                    }
                ]
                for image in images
            ]
            return self.processor.apply_chat_template(
                talks,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                # On the left: pictures of different sizes are questions of different lengths, and answers follow them.
                processor_kwargs={"padding": True, "padding_side": "left"},
            )
        if not prompt:
            return self.processor(images=list(images), return_tensors="pt")
        inputs = self.processor(images=list(images), text=[prompt] * len(images), return_tensors="pt")
        if inputs["input_ids"][0, -1] == self.tokenizer.sep_token_id:  # GIT would take the prompt for finished
            inputs["input_ids"], inputs["attention_mask"] = (
                inputs["input_ids"][:, :-1],
                inputs["attention_mask"][:, :-1],
            )
        return inputs


def speakable(settings: config.Baseline, device: torch.device) -> config.Baseline:
    """Settings that spoke elsewhere, for `device`: where there is no GPU, fp32 stands for fp16."""
    if settings.precision == "fp16" and device.type != "cuda":
        return settings.model_copy(update={"precision": "fp32"})
    return settings
