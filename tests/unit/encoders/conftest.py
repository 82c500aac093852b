"""Photographs of noise, and an encoder that needs no weights and no time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from src.config import Embed
from src.data.manifest import Location, Manifest
from src.encoders import loading as encoders
from src.encoders.encoder import Encoder

PICTURES = 13


@pytest.fixture(scope="session")
def settings() -> Embed:
    return Embed(
        encoder="shufflenet_v2_x0_5", weights="random", image_size=64, precision="fp32", batch_size=2, workers=2
    )


@pytest.fixture(scope="session")
def encoder(settings: Embed) -> Encoder:
    return encoders.load(settings)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for number in range(PICTURES):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(root / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def manifest(data: Path) -> Manifest:
    return Manifest.of(
        replace(tiny.image(number), location=Location(f"{number}.png", 0, (data / f"{number}.png").stat().st_size))
        for number in range(PICTURES)
    )
