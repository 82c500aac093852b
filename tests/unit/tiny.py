"""Everything that training needs, small enough to be checked by hand and quick enough to be trained in a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from src.config import Decode, Settings
from src.data.manifest import ImageRecord, Location, Manifest, Split
from src.data.vocabulary import Vocabulary
from src.encoders.encoder import Provenance
from src.models.captioner import Captioner
from src.models.decoder import Decoder, DecoderConfig
from src.processes import Group
from src.tracking import Silent
from src.training.recurrent import RecurrentLearner
from src.training.stopping import StopRequest
from src.training.trainer import Trainer

WORDS = ("a", "dog", "cat", "red", "blue", "runs", "sits", "on", "the", "grass")
ROWS, COLUMNS, FEATURES = 2, 3, 6
REGIONS = ROWS * COLUMNS
UNADAPTED = {"plateau_epochs": 0, "stop_epochs": 0, "ema_decay": 0.0, "spike_factor": 0.0}
"""Nothing changes on its own."""
ALONE = Group(0, 1, torch.device("cpu"))


def image(number: int, split: Split = "train", words: tuple[tuple[str, ...], ...] = (("a", "dog"),)) -> ImageRecord:
    captions = tuple(" ".join(caption) for caption in words)
    return ImageRecord(f"tiny/{number:03d}.png", split, Location(f"{number:03d}.png", 0, 1), 8, 8, captions, words)


def manifest(train: int = 10, val: int = 3, test: int = 0, seed: int = 0) -> Manifest:
    """Images with one to five captions of one to seven words, drawn at random."""
    random = np.random.default_rng(seed)
    splits: list[Split] = ["train"] * train + ["val"] * val + ["test"] * test
    return Manifest.of(
        image(
            number,
            split,
            tuple(tuple(random.choice(WORDS, random.integers(1, 8)).tolist()) for _ in range(random.integers(1, 6))),
        )
        for number, split in enumerate(splits)
    )


def vocabulary() -> Vocabulary:
    return Vocabulary(WORDS)


def grids(images: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((images, REGIONS, FEATURES)).astype(np.float16)


def decoder(
    rnn: str = "lstm", seed: int = 0, vocab_size: int = len(WORDS) + 4, dropout: float = 0.0, tied: bool = False
) -> Decoder:
    """In evaluation mode, every parameter moved away from where it begins, so that each has a say."""
    torch.manual_seed(seed)
    made = Decoder(
        DecoderConfig(
            rnn=rnn,
            vocab_size=vocab_size,
            feature_size=FEATURES,
            rows=ROWS,
            columns=COLUMNS,
            hidden_size=8,
            embedding_size=5,
            attention_size=7,
            dropout=dropout,
            tied_embeddings=tied,
        )
    )
    moved(made)
    return made.eval()


def captioner() -> Captioner:
    """Without an encoder: for cached grids."""
    shape = Provenance("none", "", "", 8, (0.5,) * 3, (0.5,) * 3, "squash", "fp32", ROWS, COLUMNS, FEATURES)
    return Captioner(decoder(), vocabulary(), shape, Decode())


def moved(decoder: Decoder) -> None:
    """Draw weights with which a decoder that has learnt nothing says several words."""
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += torch.randn_like(parameter) * 0.4


def settings(**sections: dict[str, Any]) -> Settings:
    """Parameters for a run of seconds; `train={"epochs": 3}` changes one."""
    small: dict[str, dict[str, Any]] = {
        "model": {"hidden_size": 8, "embedding_size": 5, "attention_size": 7, "dropout": 0.3},
        "train": {
            "epochs": 2,
            "batch_images": 4,
            "precision": "fp32",
            "warmup_steps": 2,
            "learning_rate": 0.01,
            "adapt": UNADAPTED,
        },
        "decode": {"max_words": 7, "beam_size": 2},
    }
    return Settings.model_validate({name: small.get(name, {}) | sections.get(name, {}) for name in {*small, *sections}})


def trainer(
    settings: Settings, described: Manifest | None = None, group: Group = ALONE, seen: np.ndarray | None = None
) -> Trainer:
    """A fresh trainer of a fresh decoder on grids `seen`: two calls with equal arguments give equal ones."""
    described = described or manifest()
    seen = grids(len(described)) if seen is None else seen
    torch.manual_seed(settings.seed)
    shape = {"vocab_size": len(vocabulary()), "feature_size": FEATURES, "rows": ROWS, "columns": COLUMNS}
    fresh = Decoder(DecoderConfig(**shape, **settings.model.model_dump()))
    learner = RecurrentLearner(settings, described, vocabulary(), seen, fresh, group)
    return Trainer(learner, settings.train, settings.seed, group)


class StopAfter(StopRequest):
    """Somebody presses Ctrl-C while the n-th step is computed."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left <= 0


class Remembered(Silent):
    """A run that keeps what it is told."""

    id = "run-1"

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.events: list[str] = []
        self.places: dict[str, int] = {}
        self.tags: list[tuple[str, str]] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:  # type: ignore[override]
        self.rows.setdefault(step, dict(values))

    def event(self, step: int, text: str) -> None:  # type: ignore[override]
        self.events.append(text)
        self.places[text] = step

    def tag(self, name: str, value: str) -> None:  # type: ignore[override]
        self.tags.append((name, value))
