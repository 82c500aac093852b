"""A run whose encoder can learn: drawn photographs, and what the stages before training made of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
import torchvision
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import nn

from src.config import Settings
from src.data.images import decode
from src.data.manifest import Location, Manifest
from src.data.vocabulary import VOCABULARY_FILE
from src.encoders import cache
from src.encoders import loading as encoders
from src.encoders.cache import Embeddings
from src.models.captioner import Captioner
from src.models.decoder import Decoder, DecoderConfig
from src.places import Places
from src.training.recurrent import RecurrentLearner
from src.training.train import train
from src.training.trainer import Trainer

STEPS = 2
"""Of an epoch."""
SIZE = 64


@dataclasses.dataclass(frozen=True)
class Tunable:
    """Drawn photographs, and what the stages before training made of them."""

    root: Path
    places: Places
    manifest: Manifest
    settings: Settings

    @property
    def embeddings(self) -> Embeddings:
        return Embeddings.open(self.places.embeddings, self.manifest)

    def changed(self, **train: Any) -> Tunable:
        changed = self.settings.train.model_copy(update=train)
        return dataclasses.replace(self, settings=self.settings.model_copy(update={"train": changed}))

    def trainer(self, with_encoder: bool = True) -> Trainer:
        torch.manual_seed(self.settings.seed)
        found = self.embeddings.provenance
        decoder = Decoder(
            DecoderConfig(
                vocab_size=len(tiny.vocabulary()),
                feature_size=found.features,
                rows=found.rows,
                columns=found.columns,
                **self.settings.model.model_dump(),
            )
        )
        encoder = encoders.load(self.settings.embed, self.settings.seed) if with_encoder else None
        learner = RecurrentLearner(
            self.settings,
            self.manifest,
            tiny.vocabulary(),
            self.embeddings.grids,
            decoder,
            tiny.ALONE,
            encoder=encoder,
            data_root=self.root,
        )
        return Trainer(learner, self.settings.train, self.settings.seed, tiny.ALONE)

    def trained(self, folder: Path) -> Captioner:
        """The whole stage, and its bundle as it is read again."""
        places = dataclasses.replace(self.places, model=folder / "model", training=folder / "train.json")
        train(self.settings, places, folder / "resume", tiny.ALONE)
        return Captioner.load(places.model, with_encoder=False)

    def picture(self, row: int) -> Image.Image:
        return decode(self.root / self.manifest.images[row].location.path)


def calibrated(root: Path, pictures: list[Image.Image]) -> Path:
    """Random weights whose batch norms know the pictures: without, every layer halves the signal until none is left."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.mobilenet_v3_small(weights=None).train()
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
        with torch.no_grad():
            pixels = np.stack([np.asarray(picture.resize((SIZE, SIZE))) for picture in pictures])
            network(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 * 4 - 2)
    save_file(network.state_dict(), root / "weights.safetensors")
    return root / "weights.safetensors"


def tunable(folder: Path) -> Tunable:
    root = folder / "pictures"
    root.mkdir()
    random = np.random.default_rng(0)
    images, pictures = [], []
    for number, image in enumerate(tiny.manifest(train=6, val=3, test=4).images):
        picture = Image.new("RGB", (SIZE + 8 * number, SIZE), tuple(random.integers(0, 256, 3).tolist()))
        left, top = random.integers(0, SIZE // 2, 2).tolist()
        ImageDraw.Draw(picture).ellipse((left, top, left + 30, top + 20), tuple(random.integers(0, 256, 3).tolist()))
        picture.save(root / f"{number}.jpg")
        pictures.append(picture)
        images.append(dataclasses.replace(image, location=Location(f"{number}.jpg", 0, 1)))
    settings = Settings.model_validate(
        {
            "dataset": {"root": root},
            "embed": {
                "encoder": "mobilenet_v3_small", "weights": str(calibrated(root, pictures)), "image_size": SIZE,
                "precision": "fp32", "batch_size": 3,
            },
            "model": {"hidden_size": 8, "embedding_size": 5, "attention_size": 7, "dropout": 0.3},
            "train": {
                "epochs": 1, "finetune_encoder": 1, "batch_images": 3, "precision": "fp32", "warmup_steps": 1,
                "learning_rate": 0.01, "encoder_learning_rate": 0.001, "final_learning_rate": 0.5,
                "adapt": tiny.UNADAPTED,
            },
            "decode": {"max_words": 7, "beam_size": 2},
        }
    )  # fmt: skip
    manifest = Manifest.of(images)
    places = Places(*(folder / name for name in ("dataset", "embeddings", "model", "train.json", "curves.csv")))
    manifest.save(places.dataset)
    tiny.vocabulary().save(places.dataset / VOCABULARY_FILE)
    encoder = encoders.load(settings.embed, settings.seed)
    cache.fill(encoder, manifest, root, places.embeddings, folder / "scratch", settings.embed, tiny.ALONE)
    return Tunable(root, places, manifest, settings)
