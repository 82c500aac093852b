"""params.yaml as typed, validated sections: the only reader of that file.

Every key has a meaning, a type and bounds here; a key that is unknown, or a value outside its bounds, is refused with
the name of the key. `dvc exp run -S train.epochs=5` writes into params.yaml, so what a stage reads here is what ran.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from src import search_space
from src.errors import UserError
from src.section import Section

DATASETS = ("sample", "flickr8k", "flickr30k", "coco")

Precision = Literal["fp32", "bf16", "fp16"]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]
Metric = Literal["BLEU", "CIDEr", "METEOR", "ROUGE", "semantic_similarity"]


class ConfigError(UserError, ValueError):
    """params.yaml cannot be used; the message names the key, the value and what would be accepted."""


class Dataset(Section):
    name: str = "sample"
    """One of DATASETS, or several joined by '+' to train on their union."""
    root: Path = Path("data")
    """Folder that holds one folder per dataset."""

    def model_post_init(self, context: Any, /) -> None:
        unknown = [name for name in self.names if name not in DATASETS]
        if unknown or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"dataset.name is {self.name!r}: use one of {', '.join(DATASETS)}, or different ones joined by '+'"
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.name.split("+"))


class Prepare(Section):
    min_word_count: Positive = 3
    """Words seen fewer times in the training captions become <unk>."""
    max_words: Positive = 20
    """Training captions are cut after this many words (references are never cut)."""
    on_bad_image: Literal["skip", "fail"] = "skip"


class Embed(Section):
    encoder: str = "efficientnet_lite0"
    weights: str = "default"
    """'default' (the published ImageNet weights), 'random', or the path of a safetensors or PyTorch state file."""
    layer: str = "default"
    """Module whose output is the grid; 'default' is the last one that still has rows and columns."""
    image_size: Annotated[int, Field(ge=32, le=1024)] | None = None
    """Pixels per side; null is the encoder's own size."""
    normalisation: Literal["default", "imagenet", "half", "lite"] = "default"
    """How pixels are scaled; 'default' is what the encoder was trained with."""
    batch_size: Positive = 32
    precision: Precision = "bf16"
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that decode images while the network runs."""


class Model(Section):
    rnn: Literal["lstm", "gru"] = "lstm"
    hidden_size: Positive = 512
    embedding_size: Positive = 256
    attention_size: Positive = 256
    dropout: Fraction = 0.5


class Adapt(Section):
    """What the controller may do while a run goes on (`src.training.adaptation`); every 0 switches something off."""

    plateau_epochs: Annotated[int, Field(ge=0)] = 4
    """Epochs without better validation CIDEr after which the learning rate is lowered."""
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    stop_epochs: Annotated[int, Field(ge=0)] = 8
    """Epochs without better validation CIDEr after which training stops."""
    ema_decay: Fraction = 0.995
    """Decay per step of a moving average of the weights, which is validated beside them."""
    most_sampling: Fraction = 0.0
    """Greatest share of input words that scheduled sampling may take from the decoder itself."""
    sampling_step: Fraction = 0.05
    """How much that share grows after an epoch in which validation loss did not fall."""
    spike_factor: Annotated[float, Field(ge=0.0)] = 20.0
    """A gradient this many times longer than the usual one is left out."""


class Train(Section):
    epochs: Positive = 15
    batch_images: Positive = 64
    """Images per optimiser step over all processes; each brings all its captions."""
    precision: Precision = "bf16"
    processes: Annotated[int, Field(ge=0)] = 1
    """Processes on this machine; 0 is one per GPU."""
    restarts: Annotated[int, Field(ge=0)] = 3
    """How often a stage that was killed is started again."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    final_learning_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    """Share of the learning rate left at the end of the cosine schedule."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    clip_norm: Annotated[float, Field(gt=0.0)] = 5.0
    label_smoothing: Fraction = 0.1
    attention_penalty: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the doubly stochastic attention term (Xu et al. 2015, eq. 14)."""
    micro_batch_images: Positive | None = None
    """Images that a process computes at once; null: its whole share of the batch. Halved when GPU memory runs out."""
    gradient_checkpointing: bool = False
    """Compute the decoder's steps (and the CNN's blocks) again in the backward pass instead of keeping them."""
    finetune_encoder: Annotated[int, Field(ge=0)] = 0
    """Epochs at the end in which the CNN learns too, from the images themselves."""
    encoder_learning_rate: Annotated[float, Field(gt=0.0)] = 1e-5
    adapt: Adapt = Adapt()
    save_every_steps: Positive = 200
    """Optimiser steps between two saved states, besides one at every epoch: the most a crash can cost."""


class Decode(Section):
    beam_size: Annotated[int, Field(ge=1, le=64)] = 5
    max_words: Positive = 20
    length_penalty: Annotated[float, Field(ge=0.0, le=2.0)] = 0.7
    """Exponent a of the length by which a hypothesis' log-probability is divided; 0 switches it off."""
    block_ngrams: Annotated[int, Field(ge=0)] = 0
    """No n-gram of this size is said twice in a caption; 0 switches it off."""
    batch_images: Positive = 128


class Evaluate(Section):
    metrics: tuple[Metric, ...] = ("BLEU", "CIDEr", "METEOR", "ROUGE", "semantic_similarity")
    glove: str = "default"
    """'default' (6B, 50 dimensions, from pip) or the path of a GloVe text file."""
    java_timeout: Annotated[float, Field(gt=0.0)] = 600.0
    """Seconds that the PTB tokeniser, and then METEOR, may take for all captions."""


class Tune(Section):
    trials: Positive = 30
    """Trials of a study, those that were pruned or failed included."""
    epochs: Positive = 6
    """Epochs of a trial; the learning rate's schedule is fitted to them."""
    sampler: Literal["tpe", "random"] = "tpe"
    startup_trials: Positive = 6
    """Trials drawn at random before TPE has something to learn from."""
    pruner: Literal["hyperband", "median", "none"] = "hyperband"
    min_epochs: Positive = 1
    """Epochs that no pruner cuts short."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """Hyperband lets one in so many go on."""
    workers: Positive = 1
    """Trials at work at once on this machine."""
    timeout: Annotated[float, Field(gt=0.0)] | None = None
    """Seconds after which a call ends, its trials' states saved; null: when all trials are done."""
    space: search_space.Space = Field(default_factory=dict)
    """What may be tried (`src.search_space`)."""


class Settings(Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    dataset: Dataset = Dataset()
    prepare: Prepare = Prepare()
    embed: Embed = Embed()
    model: Model = Model()
    train: Train = Train()
    decode: Decode = Decode()
    evaluate: Evaluate = Evaluate()
    tune: Tune = Tune()

    def model_post_init(self, context: Any, /) -> None:
        search_space.check(self.tune.space, self)

    def flat(self) -> dict[str, str | int | float | bool | None]:
        """Every parameter as 'section.key': value, as MLflow and tables show them; how one searches for better ones is
        none of a run."""
        return dict(_flat("", self.model_dump(mode="json", exclude={"tune"})))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str | int | float | bool | None]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, item)
    else:
        yield prefix, "+".join(map(str, value)) if isinstance(value, list) else value


def load(path: Path | str = "params.yaml") -> Settings:
    """Read and check the parameters.

    Raises:
        ConfigError: the file is missing, is not YAML, has an unknown key, or a value out of bounds.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: run from the root of the repository") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds {type(raw).__name__}, not the sections {', '.join(Settings.model_fields)}")
    return validated(raw, str(path))


def validated(raw: Mapping[str, Any], origin: str) -> Settings:
    """Parameters from nested values that are none yet; `origin` says in errors where they come from.

    Raises:
        ConfigError: there is an unknown key, or a value out of bounds.
    """
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ConfigError(f"{origin}: " + "; ".join(lines)) from None


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section = Settings.model_fields.get(str(problem["loc"][0]))
        kind = section.annotation if section and len(problem["loc"]) > 1 else Settings
        known = ", ".join(getattr(kind, "model_fields", {}))
        return f"unknown key {where!r} (known here: {known})"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])  # a section's own words, which name key and value
    return f"{where} = {problem['input']!r}: {problem['msg']}"


def fingerprint(*parts: Any) -> str:
    """A short stable name for what a result depends on: same parts, same name, on every machine."""
    text = json.dumps([_plain(part) for part in parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(part: Any) -> Any:
    return part.model_dump(mode="json") if isinstance(part, BaseModel) else part
