"""A folder in which the real training stage runs within seconds: drawn grids, a small vocabulary, small parameters."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import blank_store
import numpy as np
import yaml
from safetensors.torch import save_file

from src.data.manifest import ImageRecord, Location, Manifest, Split
from src.data.vocabulary import VOCABULARY_FILE, Vocabulary
from src.encoders import cache
from src.encoders.encoder import Provenance, digest
from src.files import write_json

PROJECT = Path(__file__).parents[2]
WORDS = ("a", "dog", "cat", "red", "blue", "runs", "sits", "on", "the", "grass")
PROVENANCE = Provenance(
    encoder="efficientnet_lite0",
    weights=digest({}),
    layer="head",
    image_size=224,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    resize="squash",
    precision="bf16",
    rows=2,
    columns=2,
    features=12,
)


def set_up(folder: Path, **train: Any) -> Path:
    """Prepared data and features for 48 training images; `train` are parameters of that section. Of the test images
    there is nothing but NaN."""
    random = np.random.default_rng(0)
    images = []
    for number in range(64):
        captions = tuple(tuple(random.choice(WORDS, random.integers(2, 9)).tolist()) for _ in range(3))
        split: Split = "train" if number < 48 else "val" if number < 60 else "test"
        images.append(
            ImageRecord(
                f"sample/{number}", split, Location("none", 0, 1), 8, 8, tuple(map(" ".join, captions)), captions
            )
        )
    manifest = Manifest.of(images)
    manifest.save(folder / "outputs" / "dataset")
    Vocabulary(WORDS).save(folder / "outputs" / "dataset" / VOCABULARY_FILE)
    embeddings = folder / "outputs" / "embeddings"
    embeddings.mkdir(parents=True)
    shape = (len(images), PROVENANCE.regions, PROVENANCE.features)
    grids = random.standard_normal(shape).astype(np.float16)
    grids[60:] = np.nan
    np.save(embeddings / cache.GRIDS_FILE, grids)
    save_file({}, embeddings / cache.WEIGHTS_FILE)
    write_json(embeddings / cache.INDEX_FILE, [image.name for image in images])
    write_json(embeddings / cache.PROVENANCE_FILE, PROVENANCE.to_json())
    parameters = {
        "model": {"rnn": "gru", "hidden_size": 16, "embedding_size": 8, "attention_size": 8},
        "train": {"epochs": 8, "batch_images": 4, "precision": "fp32", "save_every_steps": 3, "restarts": 2} | train,
        "decode": {"max_words": 8},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    blank_store.put(folder)
    return folder


def environment() -> dict[str, str]:
    """For processes of the folder: this project's code, one thread, a store of their own."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_", "TORCHELASTIC"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Several machines need it: an agent that survives does not tell a node that returns where to meet otherwise.
    nodes = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return kept | nodes | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "PATH": path}


def weights(folder: Path) -> bytes:
    return (folder / "outputs" / "model" / "decoder.safetensors").read_bytes()


def states(folder: Path) -> list[Path]:
    return sorted((folder / "mlruns" / "resume").glob("train-*/state-*.safetensors"))
