"""Folders as a pipeline run leaves them, with a tiny captioner that was 'trained' and 'evaluated' in no time."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from src.config import Embed, Settings, load
from src.data.manifest import Manifest
from src.encoders import loading as encoders
from src.encoders.encoder import Encoder
from src.files import write_json
from src.models.captioner import Captioner
from src.models.decoder import Decoder
from src.places import Places

SEARCH = {"beam_size": 3, "max_words": 6, "length_penalty": 0.5}


@cache
def encoder() -> Encoder:
    return encoders.load(Embed(encoder="shufflenet_v2_x0_5", weights="random", image_size=64, precision="fp32"))


def captioner(rnn: str = "lstm", seed: int = 0, dataset: str = "d" * 64) -> Captioner:
    shape = encoder().provenance
    changes = {"feature_size": shape.features, "rows": shape.rows, "columns": shape.columns}
    config = tiny.decoder(rnn).config.model_copy(update=changes)
    torch.manual_seed(seed)
    decoder = Decoder(config).eval()
    origin = {"dataset": dataset, "embeddings": "e" * 64}
    return Captioner(decoder, tiny.vocabulary(), shape, Settings().decode, origin)


def pipeline(
    folder: Path,
    rnn: str = "lstm",
    val: float = 0.5,
    test: float = 0.4,
    seed: int = 0,
    data: Manifest | None = None,
    blip: float | None = None,
    promote: dict[str, Any] | None = None,
) -> Path:
    """What a run leaves: the bundle, its reports and params.yaml. `blip` is the baseline's validation figure."""
    places = Places.below(folder)
    data = data or tiny.manifest(test=3)
    made = captioner(rnn, seed, data.digest)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(encoder().used_state(), folder / "encoder.safetensors")
    made.save(places.model, folder / "encoder.safetensors")
    write_json(
        places.training,
        {"model": made.name, "digest": made.digest(), "run_id": f"{rnn}{seed}".ljust(32, "0"), "val_CIDEr": val},
    )
    models = {made.name: test} | ({} if blip is None else {"BLIP": test})
    write_json(places.scores, {name: {"BLEU-4": value / 2, "CIDEr": value} for name, value in models.items()})
    said = {
        name: {
            "test_images": [
                {"filename": image.filename, "generated_caption": f"{name} {image.filename}"}
                for image in data.split("test")
            ]
        }
        for name in models
    }
    write_json(places.evaluation, {"models": said})
    if blip is not None:
        write_json(
            places.baseline_report,
            {"model": "BLIP", "checkpoint": "hub/blip", "digest": "b" * 16, "run_id": "b" * 32, "val_CIDEr": blip},
        )
    parameters = {"model": {"rnn": rnn}, "decode": SEARCH, "promote": promote or {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    return folder


def settings(folder: Path) -> Settings:
    return load(folder / "params.yaml")


def photograph(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8))
