"""params.yaml as typed, validated sections: the only reader of that file.

Every key has a meaning, a type and bounds here; a key that is unknown, or a value outside its bounds, is refused with
the name of the key. `dvc exp run -S train.epochs=5` writes into params.yaml, so what a stage reads here is what ran.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from src import search_space
from src.errors import UserError
from src.section import Section

DATASETS = ("sample", "flickr8k", "flickr30k", "coco")

Precision = Literal["fp32", "bf16", "fp16"]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(ge=1)]
Metric = Literal["BLEU", "CIDEr", "METEOR", "ROUGE", "semantic_similarity", "BERTScore", "SPICE"]


class ConfigError(UserError, ValueError):
    """params.yaml cannot be used; the message names the key, the value and what would be accepted."""


class Dataset(Section):
    name: str = "sample"
    """One of DATASETS, or several joined by '+' to train on their union."""
    root: Path = Path("data")
    """Folder that holds one folder per dataset."""
    held_out: str = "all"
    """Whose validation and test images count: those of all, or of one of `name`; the others only train."""

    def model_post_init(self, context: Any, /) -> None:
        unknown = [name for name in self.names if name not in DATASETS]
        if unknown or len(set(self.names)) != len(self.names):
            raise ValueError(
                f"dataset.name is {self.name!r}: use one of {', '.join(DATASETS)}, or different ones joined by '+'"
            )
        if self.held_out not in ("all", *self.names):
            raise ValueError(f"dataset.held_out is {self.held_out!r}: use all, or one of {', '.join(self.names)}")

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
    """One, or several joined by '+', whose grids then stand side by side (`src.encoders.side_by_side`); `weights` and
    `layer` may be joined in the same way."""
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
    hidden_size: Positive = 256
    embedding_size: Positive = 256
    attention_size: Positive = 256
    dropout: Fraction = 0.3
    tied_embeddings: bool = False
    """Whether words are told by the matrix that embeds them, instead of by one of their own."""


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
    epochs: Positive = 12
    batch_images: Positive = 32
    """Images per optimiser step over all processes; each brings all its captions."""
    precision: Precision = "bf16"
    processes: Annotated[int, Field(ge=0)] = 1
    """Processes on this machine; 0 is one per GPU."""
    restarts: Annotated[int, Field(ge=0)] = 3
    """How often a stage that was killed is started again."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 3e-3
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    """In which the learning rate rises; half of all steps at most."""
    final_learning_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05
    """Share of the learning rate left at the end of the cosine schedule."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    clip_norm: Annotated[float, Field(gt=0.0)] = 5.0
    label_smoothing: Fraction = 0.1
    attention_penalty: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the doubly stochastic attention term (Xu et al. 2015, eq. 14); none in self-critical epochs."""
    micro_batch_images: Positive | None = None
    """Images that a process computes at once; null: its whole share of the batch. Halved when GPU memory runs out."""
    gradient_checkpointing: bool = False
    """Compute the decoder's steps (and the CNN's blocks) again in the backward pass instead of keeping them."""
    compile: bool = False
    """On a GPU, fuse what lies between the decoder's matrix products into kernels of its own (`src.models.fusion`):
    faster steps, after a minute of compiling. On a processor they are fused from the start (`src.models.onepass`)."""
    finetune_encoder: Annotated[int, Field(ge=0)] = 0
    """Epochs at the end in which the CNN learns too, from the images themselves."""
    encoder_learning_rate: Annotated[float, Field(gt=0.0)] = 1e-5
    self_critical_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs at the end in which captions are drawn and rewarded by their CIDEr-D (Rennie et al. 2017)."""
    self_critical_samples: Annotated[int, Field(ge=2, le=64)] = 5
    """Captions drawn for each image of a batch."""
    self_critical_learning_rate: Annotated[float, Field(gt=0.0)] = 5e-5
    members: Positive = 1
    """Decoders that learn one after the other, each from a beginning of its own, and then tell every word by the mean
    of their probabilities (an ensemble)."""
    adapt: Adapt = Adapt()
    save_every_steps: Positive = 200
    """Optimiser steps between two saved states, besides one at every epoch: the most a crash can cost."""
    distill: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of the training images whose captions are joined by the baseline's own; 0 leaves people's alone."""


class Decode(Section):
    beam_size: Annotated[int, Field(ge=1, le=64)] = 5
    max_words: Positive = 20
    length_penalty: Annotated[float, Field(ge=0.0, le=2.0)] = 0.7
    """Exponent a of the length by which a hypothesis' log-probability is divided; 0 switches it off."""
    block_ngrams: Annotated[int, Field(ge=0)] = 0
    """No n-gram of this size is said twice in a caption; 0 switches it off."""
    batch_images: Positive = 128
    rerank: Literal["none", "consensus", "expected", "baseline"] = "none"
    """How a caption is chosen among the beam's: by its score, by what it has in common with all of them (minimum Bayes
    risk), by what people may be expected to say of such an image (`src.models.expectation`), or, for test captions
    alone, with the baseline's likelihood."""
    rerank_weight: Annotated[float, Field(ge=0.0)] | None = None
    """consensus: how much more a likelier hypothesis counts (null: 1.5); expected: what its expected CIDEr counts for
    beside its score (null: 15); baseline: what its log-probability counts for beside the decoder's own (null: 1). The
    first two were found on the validation images of Flickr8k."""

    @property
    def weight(self) -> float:
        """`rerank_weight`, or what the way of choosing has for it."""
        if self.rerank_weight is not None:
            return self.rerank_weight
        return {"consensus": 1.5, "expected": 15.0}.get(self.rerank, 1.0)


class TinyBlip(Section):
    """The shape of the small BLIP that `baseline.checkpoint: tiny` trains from nothing."""

    POSITIONS: ClassVar[int] = 128
    """Tokens that it can read: start, prompt and caption."""
    image_size: Annotated[int, Field(ge=16, le=1024)] = 64
    patch_size: Annotated[int, Field(ge=2, le=64)] = 8
    hidden_size: Annotated[int, Field(ge=32, multiple_of=32)] = 128
    vision_layers: Positive = 2
    text_layers: Positive = 2
    dropout: Fraction = 0.1

    def model_post_init(self, context: Any, /) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"baseline.tiny.image_size is {self.image_size}: use a multiple of patch_size, {self.patch_size}"
            )


class Baseline(Section):
    checkpoint: str = "tiny"
    """'none', 'tiny' (a small BLIP, trained from nothing, no download), or an image-to-text checkpoint of Hugging Face
    Transformers with safetensors weights: its name on the hub, or a folder. 'Salesforce/blip-image-captioning-base' is
    one where the hub has it as safetensors; the message says how to make them where it has not."""
    prompt: str = ""
    """What every caption goes on from, or what a model that follows instructions is asked."""
    beam_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """null: 1 for 'tiny', whose wider beams find worse captions of the validation images, 3 for a checkpoint."""
    max_words: Positive = 24
    """Tokens of a caption at most."""
    batch_images: Positive = 32
    """Images captioned at once."""
    precision: Precision = "bf16"
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that decode images."""
    finetune_epochs: Annotated[int, Field(ge=0)] | None = None
    """Epochs of training on the dataset; null: 8 for 'tiny', none for a checkpoint."""
    finetune_batch_images: Positive = 16
    """Images per optimiser step over all processes, each with all its captions."""
    micro_batch_images: Positive | None = None
    """Images that a process trains on at once; null: its whole share of the batch."""
    gradient_checkpointing: bool = False
    learning_rate: Annotated[float, Field(gt=0.0)] | None = None
    """null: 0.002 for 'tiny', 0.0002 for LoRA, 0.00001 for a whole checkpoint."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.05
    clip_norm: Annotated[float, Field(gt=0.0)] = 1.0
    label_smoothing: Fraction = 0.1
    augment: Fraction = 0.06
    """By how much training pictures are scaled and moved at random, as a share of their size; 0 leaves them alone."""
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """Rank of the adapters that learn in place of the weights (Hu et al. 2022); 0: the weights themselves learn."""
    adapt: Adapt = Adapt(ema_decay=0.99, plateau_epochs=0, stop_epochs=0)
    cache_mebibytes: Annotated[int, Field(ge=0)] = 1024
    """Memory of each process for decoded pictures, those of validation too, so that later epochs need not decode them
    again."""
    save_every_steps: Positive = 200
    tiny: TinyBlip = TinyBlip()

    @property
    def epochs(self) -> int:
        if self.finetune_epochs is None:
            return 8 if self.checkpoint == "tiny" else 0
        return self.finetune_epochs

    @property
    def beams(self) -> int:
        return self.beam_size or (1 if self.checkpoint == "tiny" else 3)

    @property
    def speech(self) -> tuple[str, int, int, str]:
        """What decides beside its weights what a model says."""
        return self.prompt, self.beams, self.max_words, self.precision

    @property
    def training(self) -> Train:
        """What the training loop is told."""
        usual = 2e-3 if self.checkpoint == "tiny" else 2e-4 if self.lora_rank else 1e-5
        return Train(
            epochs=self.epochs,
            batch_images=self.finetune_batch_images,
            micro_batch_images=self.micro_batch_images,
            precision=self.precision,
            learning_rate=self.learning_rate or usual,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            label_smoothing=self.label_smoothing,
            gradient_checkpointing=self.gradient_checkpointing,
            adapt=self.adapt,
            save_every_steps=self.save_every_steps,
        )

    def model_post_init(self, context: Any, /) -> None:
        if self.checkpoint == "tiny" and not self.epochs:
            raise ValueError("baseline.finetune_epochs is 0, but baseline.checkpoint 'tiny' has learnt nothing yet")
        if self.checkpoint == "tiny" and self.lora_rank:
            raise ValueError("baseline.lora_rank adapts a checkpoint: 'tiny' has no weights worth keeping")
        if self.lora_rank and not self.epochs:
            raise ValueError(
                f"baseline.lora_rank is {self.lora_rank}, but nothing is trained: set baseline.finetune_epochs, or "
                "baseline.lora_rank back to 0"
            )
        if self.adapt.most_sampling:
            raise ValueError("baseline.adapt.most_sampling is for recurrent decoders: leave it at 0")


class Evaluate(Section):
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = (
        "BLEU",
        "CIDEr",
        "METEOR",
        "ROUGE",
        "semantic_similarity",
        "BERTScore",
    )
    """SPICE needs CoreNLP 3.6.0 besides (`src.metrics.spice`); where it is not, a note says so."""
    glove: str = "default"
    """'default' (6B, 50 dimensions, from pip) or the path of a GloVe text file."""
    java_timeout: Annotated[float, Field(gt=0.0)] = 600.0
    """Seconds that the PTB tokeniser, then METEOR for each model, and SPICE may take for all captions."""
    bertscore_model: str = "default"
    """'default' (all-MiniLM-L6-v2, from pip), the name of a model on the Hugging Face hub, or its folder."""
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Bootstrap samples of the test images behind each interval, and tosses behind each p-value."""


class Visualize(Section):
    images: tuple[str, ...] = ()
    """File names of test images whose attention is drawn, besides the best and some drawn by lot."""
    points: Annotated[int, Field(ge=0, le=5000)] = 600
    """Images on the maps of the embedding space, test images first; 0 draws none."""


class Promote(Section):
    """When a model becomes the champion (`src.registry.promotion`)."""

    metric: Literal["val_CIDEr"] = "val_CIDEr"
    """What decides, more is better: a figure of the validation images, never of the test images."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """A champion is replaced by a model that is better by at least this much."""
    require_baseline: bool = False
    """Only a model better than BLIP on the same images becomes champion; where there is no BLIP, none does."""


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
    brackets: Literal["first", "all"] = "first"
    """Hyperband's: the first prunes from `min_epochs` on, the others later and later."""
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
    baseline: Baseline = Baseline()
    evaluate: Evaluate = Evaluate()
    visualize: Visualize = Visualize()
    promote: Promote = Promote()
    tune: Tune = Tune()

    def model_post_init(self, context: Any, /) -> None:
        self.tune.space.update(search_space.checked(self.tune.space, self))
        if self.train.members > 1 and self.train.finetune_encoder:
            raise ValueError(
                f"train.members is {self.train.members} and train.finetune_encoder {self.train.finetune_encoder}: a "
                "CNN that learns with one decoder gives the others nothing; set one of the two back (1, 0)"
            )
        if self.train.finetune_encoder and self.embed.precision == "fp16" != self.train.precision:
            raise ValueError(
                f"embed.precision is 'fp16', in which the encoder cannot learn while train.precision is "
                f"{self.train.precision!r}: gradients are only scaled where that is 'fp16' too"
            )
        none = "baseline.checkpoint 'none': choose one ('tiny' needs no download), or set"
        if self.baseline.checkpoint == "none" and self.decode.rerank == "baseline":
            raise ValueError(f"decode.rerank is 'baseline' and {none} decode.rerank=none")
        if self.baseline.checkpoint == "none" and self.train.distill:
            raise ValueError(f"train.distill is {self.train.distill} and {none} train.distill=0")
        room = TinyBlip.POSITIONS - 1 - len(self.baseline.prompt.split())
        longest = {"prepare": self.prepare.max_words, "baseline": self.baseline.max_words}
        if self.decode.rerank == "baseline":
            longest["decode"] = self.decode.max_words
        for section, words in longest.items():
            if self.baseline.checkpoint == "tiny" and words > room:
                raise ValueError(
                    f"{section}.max_words is {words}, but baseline.checkpoint 'tiny' has room for {room} words: use no "
                    "more, or another checkpoint ('none' does without)"
                )
        if self.decode.rerank == "expected" and self.train.finetune_encoder:
            raise ValueError(
                f"decode.rerank is 'expected' and train.finetune_encoder {self.train.finetune_encoder}: what may be "
                "expected of an image is told from cached grids, which a CNN that learns leaves behind; set one of the "
                "two back (none, 0)"
            )
        if self.decode.rerank != "none" and self.decode.beam_size == 1:
            raise ValueError(
                f"decode.rerank is {self.decode.rerank!r} and decode.beam_size 1, which leaves nothing to choose from: "
                "set decode.beam_size to 2 or more, or decode.rerank=none"
            )

    def flat(self) -> dict[str, str | int | float | bool | None]:
        """Every parameter as 'section.key': value, as MLflow and tables show them; how one searches for better ones,
        and what is drawn, are none of a run."""
        return dict(_flat("", self.model_dump(mode="json", exclude={"tune", "visualize"})))


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
