"""Checkpoints of the kinds that the hub has, with random weights and ten words: a few kB each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from src.hub import quietly

SIZE = {"height": 32, "width": 32}
VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip
TEXT = {"vocab_size": 10, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
WORDS = ["<pad>", "<start>", "<end>", "<unk>", "<image>", "a", "dog", "cat", "runs", "sits"]
IMAGE = WORDS.index("<image>")
CHAT = """\
{% for message in messages %}<start> {{ message['role'] }} {% for part in message['content'] %}\
{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}<end> {% endfor %}\
{% if add_generation_prompt %}<start> assistant {% endif %}"""
"""What an instructed model reads: who speaks, and pictures and words in their order."""


def tokeniser(**named: Any) -> Any:
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
            image_token_index=IMAGE,
        )
    )
    return [model, Blip2Processor(BlipImageProcessor(size=SIZE), tokeniser(), num_query_tokens=4)]


def llava() -> list[Any]:
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    shape = {name: VISION[name] for name in VISION if name not in ("image_size", "patch_size")}
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**VISION).to_dict(),
            text_config=LlamaConfig(max_position_embeddings=64, **shape, **TEXT).to_dict(),
            image_token_index=IMAGE,
            image_seq_length=4,
            vision_feature_layer=-1,
        )
    )
    processor = LlavaProcessor(
        CLIPImageProcessor(size=SIZE, do_center_crop=False),
        tokeniser(extra_special_tokens={"image_token": "<image>"}),
        patch_size=VISION["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    return [model, processor]


def qwen2_vl() -> list[Any]:
    """A picture is as many tokens as it is large."""
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    words = tokeniser(extra_special_tokens={"image_token": "<image>", "video_token": "<video>"})
    text = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
    } | TEXT | {"vocab_size": len(words)}  # fmt: skip
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 8, "mlp_ratio": 2}
    model = Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(
            text_config=text,
            vision_config=vision,
            image_token_id=IMAGE,
            video_token_id=words.convert_tokens_to_ids("<video>"),
            vision_start_token_id=words.unk_token_id,
            vision_end_token_id=words.unk_token_id,
        )
    )
    size = {"size": {"shortest_edge": 16**2, "longest_edge": 64**2}, "patch_size": 8, "merge_size": 2}
    looks = Qwen2VLImageProcessor(**size), words, Qwen2VLVideoProcessor(**size)
    return [model, Qwen2VLProcessor(*looks, chat_template=CHAT)]


def checkpoint(make: Any, folder: Path, scale: float = 1.0) -> Path:
    """Args: scale: by which weights are larger than usual, so that what is said hangs on what is seen."""
    torch.manual_seed(0)
    with quietly():
        model, *parts = make()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= scale
        for part in (model, *parts):
            part.save_pretrained(folder)
    return folder


def pictures(count: int, taller: int = 0) -> list[Image.Image]:
    """Noise; each picture is by `taller` rows larger than the one before."""
    random = np.random.default_rng(0)
    sizes = [(20 + taller * number, 50, 3) for number in range(count)]
    return [Image.fromarray(random.integers(0, 255, size, dtype=np.uint8)) for size in sizes]
