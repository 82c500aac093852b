"""A repository in which an LSTM, a GRU and a small BLIP seem to be trained, evaluated and registered, in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from src import tracking
from src.config import Embed, Settings, load
from src.data.manifest import ImageRecord, Location, Manifest
from src.data.vocabulary import END, VOCABULARY_FILE, Vocabulary
from src.encoders import loading as encoders
from src.files import write_json
from src.models.baseline import MODEL_FOLDER, Baseline
from src.models.captioner import Captioner
from src.models.decoder import Decoder, DecoderConfig
from src.places import Places
from src.registry.promotion import promote

WORDS = ("a", "the", "red", "green", "blue", "square", "circle", "on", "grass", "sky")
COLOURS = ("red", "green", "blue")
IMAGES = 30
SIDE = 96
PARAMETERS: dict[str, Any] = {
    "model": {"hidden_size": 16, "embedding_size": 8, "attention_size": 8},
    "decode": {"beam_size": 3, "max_words": 6},
    "baseline": {
        "beam_size": 2,
        "max_words": 6,
        "precision": "fp32",
        "tiny": {"image_size": 32, "patch_size": 16, "hidden_size": 32, "vision_layers": 1, "text_layers": 1},
    },
}


def built(folder: Path) -> Path:
    """Leave everything that a run of the whole pipeline leaves, figures excepted. DVC_ROOT must be `folder`."""
    (folder / "params.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMETERS), encoding="utf-8")
    settings, places = load(folder / "params.yaml"), Places.below(folder)
    manifest = _drawn(folder)
    manifest.save(places.dataset)
    vocabulary = Vocabulary(WORDS)
    vocabulary.save(places.dataset / VOCABULARY_FILE)
    _baseline(settings, places, vocabulary)
    for rnn, val in (("gru", 0.5), ("lstm", 0.7)):
        _evaluated(rnn, val, settings, places, manifest, vocabulary)
        write_json(places.promotion, promote(settings, places))
    return folder


def picture(colour: str = "red") -> Image.Image:
    """A square of that colour on grey noise."""
    noise = np.random.default_rng(len(colour)).integers(120, 140, (SIDE, SIDE, 3), np.uint8)
    image = Image.fromarray(noise)
    image.paste(Image.new("RGB", (SIDE // 2, SIDE // 2), colour), (SIDE // 4, SIDE // 4))
    return image


def _drawn(folder: Path) -> Manifest:
    records = []
    for number in range(IMAGES):
        name, colour = f"scene-{number:02d}.png", COLOURS[number % len(COLOURS)]
        path = folder / "data" / "sample" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(colour).save(path)
        captions = (f"A {colour} square number {number}.", f"The {colour} square.")
        words = tuple(tuple(caption.lower().rstrip(".").split()) for caption in captions)
        location = Location(f"sample/{name}", 0, path.stat().st_size)
        records.append(ImageRecord(f"sample/{name}", "test", location, SIDE, SIDE, captions, words))
    return Manifest.of(records)


def _evaluated(
    rnn: str, val: float, settings: Settings, places: Places, manifest: Manifest, vocabulary: Vocabulary
) -> None:
    encoder = encoders.load(Embed(encoder="shufflenet_v2_x0_5", weights="random", image_size=128, precision="fp32"))
    shape = encoder.provenance
    torch.manual_seed(len(rnn))
    grid = {"feature_size": shape.features, "rows": shape.rows, "columns": shape.columns}
    decoder = Decoder(
        DecoderConfig(rnn=rnn, vocab_size=len(vocabulary), **grid, **settings.model.model_dump(exclude={"rnn"}))
    )
    with torch.no_grad():  # as it begins, a decoder looks everywhere alike
        for parameter in decoder.parameters():
            parameter += 0.4 * torch.randn_like(parameter)
        decoder.score *= 8
        decoder.vocab.bias[END] = -9.0  # and says as much as it may
    captioner = Captioner(
        decoder.eval(), vocabulary, shape, settings.decode, {"dataset": manifest.digest, "embeddings": "e"}
    )
    weights = places.model.with_name("encoder.safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    save_file(encoder.used_state(), weights)
    captioner.save(places.model, weights)
    with tracking.run("train", name=captioner.name, settings=settings, hashes={"dataset": manifest.digest}) as run:
        for epoch in (1, 2, 3):
            losses = {"train_loss": 3.0 / epoch, "val_loss": 4.0 / epoch, "learning_rate": 0.001}
            run.log(epoch, {"val_CIDEr": val * epoch / 3, "captions_per_second": 100.0, **losses})
        run.event(2, "learning rate halved")
        run.summary({"best_val_CIDEr": val})
    write_json(
        places.training,
        {"model": captioner.name, "digest": captioner.digest(), "run_id": run.id, "val_CIDEr": val},
    )
    models = {"LSTM": val, "GRU": 0.4, "BLIP": 0.2} if rnn == "lstm" else {captioner.name: val}
    write_json(places.scores, {name: {"BLEU-4": value / 2, "CIDEr": value} for name, value in models.items()})
    write_json(places.evaluation, {"models": {name: _said(name, manifest) for name in models}})
    intervals = {name: {"CIDEr": [value - 0.1, value + 0.1]} for name, value in models.items()}
    pair = {"first": "LSTM", "second": "GRU", "metric": "CIDEr", "difference": 0.3, "p": 0.01}
    pairs = [pair] if len(models) > 1 else []
    write_json(places.comparison, {"images": IMAGES, "intervals": intervals, "pairs": pairs, "level": 0.95})


def _said(name: str, manifest: Manifest) -> dict[str, Any]:
    score: Callable[[int], float] = lambda number: (number * 7 % IMAGES) / 10  # noqa: E731
    return {
        "test_images": [
            {
                "filename": image.filename,
                "generated_caption": f"{name.lower()} sees {image.words[0][1]}",
                "actual_captions": list(image.captions),
                "evaluation_metrics": {"BLEU_scores": {"BLEU-4": 0.1}, "CIDEr": score(number)},
            }
            for number, image in enumerate(manifest.images)
        ]
    }


def _baseline(settings: Settings, places: Places, vocabulary: Vocabulary) -> None:
    torch.manual_seed(0)
    blip = Baseline.tiny(settings.baseline, vocabulary)
    blip.save(places.baseline / MODEL_FOLDER)
    write_json(
        places.baseline_report,
        {"model": "BLIP", "checkpoint": "tiny", "digest": blip.digest(), "run_id": "b" * 32, "val_CIDEr": 0.2},
    )
