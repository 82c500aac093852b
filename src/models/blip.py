"""BLIP (Li et al. 2022): what its captioning model reads and says, token by token, and a small one of its own kind.

Works on Transformers' `BlipForConditionalGeneration`. A caption is `<start> prompt words <end>`: the start is BLIP's
decoder token (not BERT's `[CLS]`, which the published processor would put there), and nothing is learnt of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from src.config import TinyBlip
from src.data.vocabulary import END, PAD, START, UNK, Vocabulary

NOTHING = -100
"""Target where nothing is to be said, as PyTorch's cross-entropy leaves it out."""
HEAD = 32
"""Features of an attention head of the small model."""


@dataclass(frozen=True)
class Lesson:
    """Captions to be taught, all of an image's side by side: what each position continues from, and what is to be said
    there (or NOTHING, as in every place of a caption that an image has less than others)."""

    inputs: Int[Tensor, "image caption word"]
    targets: Int[Tensor, "image caption word"]

    def to(self, device: torch.device) -> Lesson:
        return Lesson(self.inputs.to(device, non_blocking=True), self.targets.to(device, non_blocking=True))


class Script:
    """Captions as BLIP's tokens and back."""

    def __init__(self, model: Any, tokenizer: Any, prompt: str = "") -> None:
        text = model.config.text_config
        self.start, self.end, self.pad = text.bos_token_id, text.sep_token_id, text.pad_token_id
        self.tokenizer = tokenizer
        self.prompt: list[int] = self.encode(prompt.split())

    def encode(self, words: Sequence[str]) -> list[int]:
        """The tokens of a caption, without start, prompt and end."""
        return list(self.tokenizer(" ".join(words), add_special_tokens=False).input_ids)

    def decode(self, ids: Int[Tensor, "caption word"]) -> list[str]:
        """What was said after start and prompt."""
        said = ids[:, 1 + len(self.prompt) :]
        return [" ".join(text.split()) for text in self.tokenizer.batch_decode(said, skip_special_tokens=True)]

    def lesson(self, captions: Sequence[Sequence[Sequence[int]]]) -> Lesson:
        """Args: captions: each image's, as `encode` gives them."""
        begin = [self.start, *self.prompt]
        slots = max(map(len, captions), default=0)
        longest = max((len(words) for own in captions for words in own), default=0)
        inputs = torch.full((len(captions), slots, len(begin) + longest), self.pad)
        targets = torch.full_like(inputs, NOTHING)
        inputs[:, :, : len(begin)] = torch.tensor(begin)
        for image, own in enumerate(captions):
            for slot, words in enumerate(own):
                inputs[image, slot, len(begin) : len(begin) + len(words)] = torch.tensor(words, dtype=torch.long)
                said = torch.tensor([*words, self.end])
                targets[image, slot, len(begin) - 1 : len(begin) + len(words)] = said
        return Lesson(inputs, targets)

    def say(self, model: Any, seen: Float[Tensor, "image region feature"], **search: Any) -> list[str]:
        """Captions of pictures that were looked at, searched for as Transformers' `generate` is told."""
        begin = torch.tensor([[self.start, *self.prompt]], device=seen.device).expand(len(seen), -1)
        said = model.text_decoder.generate(
            input_ids=begin,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
            eos_token_id=self.end,
            pad_token_id=self.pad,
            **search,
        )
        return self.decode(said)


def look(model: Any, pixels: Float[Tensor, "image 3 row column"]) -> Float[Tensor, "image region feature"]:
    """What the vision transformer makes of pictures."""
    seen: Tensor = model.vision_model(pixel_values=pixels).last_hidden_state
    return seen


def spoken(model: Any, seen: Float[Tensor, "image region feature"], lesson: Lesson) -> Float[Tensor, "word hidden"]:
    """Features of the words to be said, image by image and caption by caption; `vocab` of them are logits.

    An image's captions go through the decoder behind one another, each blind to the others: keys and values of the
    picture are worked out once, not once a caption.
    """
    images, slots, words = lesson.inputs.shape
    before = torch.ones(words, words, dtype=torch.bool, device=seen.device).tril()
    own = torch.kron(torch.eye(slots, dtype=torch.bool, device=seen.device), before)
    hidden = model.text_decoder.bert(
        input_ids=lesson.inputs.flatten(1),
        position_ids=torch.arange(words, device=seen.device).repeat(slots).expand(images, -1),
        # Added to the scores. From left to right nothing but padding looks at padding.
        attention_mask=seen.new_zeros(own.shape)
        .masked_fill(~own, torch.finfo(seen.dtype).min)
        .expand(images, 1, -1, -1),
        encoder_hidden_states=seen,
        is_decoder=True,
        use_cache=False,
    ).last_hidden_state
    features: Tensor = model.text_decoder.cls.predictions.transform(hidden[lesson.targets.flatten(1) != NOTHING])
    return features


def vocab(model: Any) -> nn.Linear:
    layer: nn.Linear = model.text_decoder.cls.predictions.decoder
    return layer


class Scaling(nn.Module):
    """Pixels from 0 to 255 as an image processor scales them for its model."""

    mean: Tensor
    std: Tensor

    def __init__(self, image_processor: Any) -> None:
        super().__init__()
        self.factor = float(image_processor.rescale_factor)
        for name in ("mean", "std"):
            values = torch.tensor(getattr(image_processor, f"image_{name}"), dtype=torch.float32)
            self.register_buffer(name, values.view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: UInt8[Tensor, "image 3 row column"]) -> Float[Tensor, "image 3 row column"]:
        scaled: Tensor = (pixels * self.factor - self.mean) / self.std
        return scaled


def build(settings: TinyBlip, vocabulary: Vocabulary) -> tuple[Any, Any]:
    """A small BLIP with random weights, and its processor, whose tokeniser knows the words of `vocabulary`."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
        BlipTextConfig,
        BlipVisionConfig,
        PreTrainedTokenizerFast,
    )

    specials = {"pad_token": PAD, "bos_token": START, "eos_token": END, "unk_token": UNK}
    words = Tokenizer(
        WordLevel({word: number for number, word in enumerate(vocabulary.words)}, unk_token=vocabulary.words[UNK])
    )
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, **{name: vocabulary.words[number] for name, number in specials.items()}
    )
    size = {"height": settings.image_size, "width": settings.image_size}
    shape = {
        "hidden_size": settings.hidden_size,
        "intermediate_size": 4 * settings.hidden_size,
        "num_attention_heads": settings.hidden_size // HEAD,
    }
    text = BlipTextConfig(
        vocab_size=len(vocabulary),
        num_hidden_layers=settings.text_layers,
        max_position_embeddings=settings.POSITIONS,
        bos_token_id=START,
        eos_token_id=END,
        sep_token_id=END,
        pad_token_id=PAD,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        **shape,
    )
    vision = BlipVisionConfig(
        num_hidden_layers=settings.vision_layers,
        image_size=settings.image_size,
        patch_size=settings.patch_size,
        initializer_range=0.02,  # the default is for weights that are loaded
        **shape,
    )
    model = BlipForConditionalGeneration(BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))
    return model, BlipProcessor(BlipImageProcessor(size=size), tokenizer)
