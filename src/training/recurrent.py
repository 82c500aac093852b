"""The recurrent decoder as the training loop sees it: grids first, then, if asked for, the pictures themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16
from torch import Tensor, nn

from src.config import Settings, Train
from src.data.manifest import Manifest
from src.data.vocabulary import Vocabulary
from src.encoders.encoder import Encoder
from src.errors import UserError
from src.models import native
from src.models.decoder import Decoder
from src.models.ensemble import Ensemble, together
from src.models.fusion import fusing
from src.processes import Group
from src.training.batches import Batch, CaptionedImages, EncodedImages, Reader
from src.training.gradients import parameter_groups, under
from src.training.grids import grid_reader
from src.training.learner import SELF_CRITICAL, TEACHING, WITH_ENCODER, Learner, Phase
from src.training.objectives import TeacherForcing
from src.training.pixels import PixelReader
from src.training.self_critical import CiderReward, SelfCritical
from src.training.validation import Validation


class RecurrentLearner(Learner[Batch]):
    """A decoder on cached grids and, for `train.finetune_encoder`, the encoder that made them.

    Args:
        encoder: needed for `train.finetune_encoder` alone.
        data_root: where its pictures lie.
        written: what people wrote, where `manifest` has other captions too: drawn captions are held against it.
    """

    section = "train"

    def __init__(
        self,
        settings: Settings,
        manifest: Manifest,
        vocabulary: Vocabulary,
        grids: Float16[np.ndarray, "row region feature"],
        decoder: Decoder,
        group: Group,
        encoder: Encoder | None = None,
        data_root: Path = Path("data"),
        written: Manifest | None = None,
    ) -> None:
        train, words = settings.train, settings.prepare.max_words
        self.train, self.vocabulary, self.caption_words = train, vocabulary, words
        whole = not train.gradient_checkpointing and train.micro_batch_images is None
        self.few_shapes = train.compile and group.device.type == "cuda" and whole
        self.images = CaptionedImages(
            manifest.split("train"), manifest.rows("train"), vocabulary, words, self.few_shapes
        )
        self.written = None if written is manifest else written
        held_out = CaptionedImages(manifest.split("val"), manifest.rows("val"), vocabulary, words)
        search = settings.decode.model_copy(update={"beam_size": 1, "block_ngrams": 0})
        self.validation = Validation(held_out, manifest, search.batch_images, group)
        self.decoder, self.encoder = decoder.to(group.device), encoder
        decoder.fuse = fusing(train.compile, group.device)
        self.kernels = native.described(group.device)
        if train.compile and native.takes(group.device):
            self.kernels += ", where train.compile finds nothing to fuse"
        elif train.compile:
            self.kernels = "the decoder's steps and its loss run as kernels fused by TorchInductor"
            if self.few_shapes:
                self.kernels += ", replayed as CUDA graphs while words are taught"
        self.said_words = search.max_words
        self.teaching = self.forcing = TeacherForcing(
            decoder,
            train.label_smoothing,
            coverage=train.attention_penalty > 0,
            checkpointing=train.gradient_checkpointing,
            encoder=encoder,
            precision=train.precision,
            speech=(vocabulary, search),
        )
        self.read, self.reading = grid_reader(grids, group.device)
        self.read_pixels: Reader | None = None
        if encoder is not None:
            encoder.to(group.device)
            self.read_pixels = PixelReader(
                encoder.pixels, encoder.image_size, manifest, data_root, settings.embed.workers
            )
        self.encoder_learns = False
        self.seed, self.members = settings.seed, train.members
        self.taught: list[dict[str, Tensor]] = []
        self.untaught: dict[str, Tensor] = {}

    def groups(self) -> list[dict[str, Any]]:
        groups = parameter_groups(self.decoder, self.train.weight_decay)
        if self.encoder is not None:
            groups.append({"params": self.encoder.learnable(), "weight_decay": 0.0})
        return groups

    def averaged(self) -> Iterable[nn.Parameter]:
        return self.decoder.parameters()

    def weights(self) -> Mapping[str, Tensor]:
        weights = {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}
        for member, own in enumerate(self.taught):
            weights |= {f"member-{member}.{name}": value for name, value in own.items()}
        if self.encoder is not None and self.encoder_learns:
            weights |= {f"encoder.{name}": value for name, value in self.encoder.used_state().items()}
        return weights

    def load(self, weights: Mapping[str, Tensor]) -> None:
        self.decoder.load_state_dict(under("decoder.", weights))
        for member, own in enumerate(self.taught):  # copied: whoever gave the weights keeps and saves them beside these
            own.update((name, value.clone()) for name, value in under(f"member-{member}.", weights).items())
        if self.encoder is not None and self.encoder_learns:
            # The best decoder may be one of before the encoder began to learn: then it saw with the encoder of then.
            self.encoder.load_used_state(under("encoder.", weights) or self.untaught, "the saved state")

    def phases(self, train: Train) -> list[Phase]:
        quiet = train.learning_rate * train.final_learning_rate
        told = "the encoder learns from here on, from the images themselves"
        if not quiet:
            told += "; the decoder stands still, for train.final_learning_rate is 0"
        found = [
            Phase(TEACHING, train.epochs),
            Phase(WITH_ENCODER, train.finetune_encoder, quiet, told),
            Phase(
                SELF_CRITICAL,
                train.self_critical_epochs,
                train.self_critical_learning_rate,
                "captions are drawn and rewarded by CIDEr-D from here on",
                rewarded=True,
            ),
        ]
        own = [phase for phase in found if phase.epochs]
        return own + [
            phase._replace(member=member, told=phase.told or f"decoder {member + 1} of {self.members} begins")
            for member in range(1, self.members)
            for phase in own
        ]

    def begin(self, phase: Phase) -> None:
        if phase.member > len(self.taught):
            self._begin_anew(phase.member)
        if phase.kind == WITH_ENCODER:
            if self.encoder is None or self.read_pixels is None:
                raise UserError("train.finetune_encoder needs the encoder: it was not given to the trainer")
            self.untaught = {name: value.detach().clone() for name, value in self.encoder.used_state().items()}
            self.encoder.learn(checkpointing=self.train.gradient_checkpointing)
            self.read, self.encoder_learns = self.read_pixels, True
            self.reading = "pictures are decoded for an encoder that learns"
        if phase.kind == SELF_CRITICAL:
            reward = CiderReward(self._written_images())
            self.teaching = SelfCritical(self.forcing, reward, self.train.self_critical_samples, self.said_words)

    def finish(self) -> Decoder | Ensemble:
        """The decoder as it is now, or with those that learnt before it."""
        former = []
        for weights in self.taught:
            former.append(Decoder(self.decoder.config).to(next(self.decoder.parameters()).device))
            former[-1].load_state_dict(weights)
        return together([*former, self.decoder]).eval()

    def ensemble_cider(self, speaker: Decoder | Ensemble) -> float:
        """Of greedy captions of the validation images."""
        return self.validation.cider(lambda batch: self.forcing.said(batch, speaker), self.read)

    def _begin_anew(self, member: int) -> None:
        """Lay the decoder aside as it is, and make it one that has learnt nothing."""
        self.taught.append({name: value.detach().clone() for name, value in self.decoder.state_dict().items()})
        torch.manual_seed(self.seed + member)
        self.decoder.load_state_dict(Decoder(self.decoder.config).state_dict())
        self.teaching = self.forcing

    def _written_images(self) -> EncodedImages[Batch]:
        """The training split as people wrote it."""
        people = self.written
        if people is None:
            return self.images
        return CaptionedImages(people.split("train"), people.rows("train"), self.vocabulary, self.caption_words)
