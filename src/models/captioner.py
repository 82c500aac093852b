"""The captioner bundle: all that is needed to caption a picture, in one folder, without pickles.

config.json            decoder, encoder, how captions are searched for, what it was trained on
vocabulary.json        the words
decoder.safetensors    the recurrent decoder's weights, or those of several that speak as one
encoder.safetensors    the CNN's weights, up to the layer that gives the grid
expectation.safetensors    what people may be expected to say of an image; absent where the CNN has learnt
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.config import Decode, fingerprint
from src.data.vocabulary import VOCABULARY_FILE, Vocabulary
from src.encoders.encoder import Encoder, Provenance, digest
from src.encoders.folding import folded
from src.encoders.loading import rebuild
from src.errors import UserError
from src.files import write_folder, write_json
from src.models.decoder import Decoder, DecoderConfig
from src.models.ensemble import Ensemble, together
from src.models.expectation import Expectation

CONFIG_FILE = "config.json"
DECODER_FILE = "decoder.safetensors"
ENCODER_FILE = "encoder.safetensors"
EXPECTATION_FILE = "expectation.safetensors"
FORMAT = 1


@dataclass
class Captioner:
    """A trained decoder with what it needs around it.

    Attributes:
        origin: digests of dataset and embeddings, parameters: what the weights came from.
    """

    decoder: Decoder | Ensemble
    vocabulary: Vocabulary
    provenance: Provenance
    decode: Decode
    origin: Mapping[str, Any] = field(default_factory=dict)
    encoder: Encoder | None = None
    expectation: Expectation | None = None

    @property
    def name(self) -> str:
        """LSTM or GRU: what tables and figures call it."""
        return self.decoder.config.rnn.upper()

    @property
    def tuned(self) -> bool:
        """Its encoder has learnt with the decoder: cached grids are not its own."""
        return bool(self.origin.get("encoder_tuned", False))

    @property
    def device(self) -> torch.device:
        return next(self.decoder.parameters()).device

    def to(self, device: torch.device) -> Captioner:
        self.decoder.to(device)
        if self.encoder is not None:
            self.encoder.to(device)
            self.__dict__.pop("_eye", None)
        if self.expectation is not None:
            self.expectation = self.expectation.to(device)
        return self

    @cached_property
    def _eye(self) -> Encoder | None:
        return self.encoder and folded(self.encoder)

    def ready(self) -> Captioner:
        """Do now what the first picture would wait for.

        Raises:
            UserError: the captioner was loaded without its encoder.
        """
        grids = self.grids([Image.new("RGB", (1, 1))])
        if self.expectation is not None and self.decode.rerank == "expected":
            self.expectation.cider(grids, [[]])
        return self

    def digest(self) -> str:
        """Names the content: decoder weights, words, the encoder they belong to, and what is expected of an image."""
        expected = [digest(self.expectation.state())] if self.expectation else []
        weights = digest(self.decoder.state_dict())
        return fingerprint(weights, self.vocabulary.words, self.provenance.to_json(), *expected)

    @torch.inference_mode()
    def grids(self, images: Sequence[Image.Image]) -> Float[Tensor, "image region feature"]:
        """Encode RGB pictures, in fp16 as the cache keeps grids.

        Raises:
            UserError: the captioner was loaded without its encoder.
        """
        if self._eye is None:
            raise UserError("this captioner was loaded without its encoder: it captions cached grids only")
        pixels = torch.from_numpy(np.stack([self._eye.pixels(image) for image in images]))
        grids: Tensor = self._eye(pixels.to(self.device))
        return grids.to(torch.float16)

    def save(self, folder: Path, encoder_weights: Path | None = None) -> None:
        """Write the bundle, in place of an old one.

        Args:
            encoder_weights: the file that the embedding cache keeps; not needed where the captioner has its encoder.
        """
        with write_folder(folder) as temporary:
            save_file(
                {key: value.detach().cpu().contiguous() for key, value in self.decoder.state_dict().items()},
                temporary / DECODER_FILE,
            )
            if self.encoder is not None:
                save_file(
                    {key: value.detach().cpu() for key, value in self.encoder.used_state().items()},
                    temporary / ENCODER_FILE,
                )
            elif encoder_weights is not None:
                shutil.copyfile(encoder_weights, temporary / ENCODER_FILE)
            else:
                raise ValueError("a captioner without its encoder needs the encoder's weights to be saved")
            if self.expectation is not None:
                save_file(
                    {key: value.cpu().contiguous() for key, value in self.expectation.state().items()},
                    temporary / EXPECTATION_FILE,
                )
            self.vocabulary.save(temporary / VOCABULARY_FILE)
            write_json(
                temporary / CONFIG_FILE,
                {
                    "format": FORMAT,
                    "decoder": self.decoder.config.model_dump(),
                    "members": len(self.decoder.members) if isinstance(self.decoder, Ensemble) else 1,
                    "encoder": self.provenance.to_json(),
                    "decode": self.decode.model_dump(),
                    "origin": dict(self.origin),
                    "digest": self.digest(),
                },
            )

    @classmethod
    def load(cls, folder: Path, *, with_encoder: bool = True) -> Captioner:
        """Read a bundle, in evaluation mode.

        Args:
            with_encoder: False saves time where cached grids are captioned; an encoder that has learnt always comes.

        Raises:
            UserError: the folder holds no bundle, or one that is damaged or of another format.
        """
        path = folder / CONFIG_FILE
        if not path.exists():
            raise UserError(f"{folder} holds no captioner ({CONFIG_FILE} is missing): train one with `dvc repro`")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["format"] != FORMAT:
                raise UserError(f"{path} has format {stored['format']}, this version reads {FORMAT}: train again")
            config = DecoderConfig.model_validate(stored["decoder"])
            provenance = Provenance.from_json(stored["encoder"])
            decode = Decode.model_validate(stored["decode"])
            decoder = together([Decoder(config) for _ in range(stored.get("members", 1))])
            decoder.load_state_dict(load_file(folder / DECODER_FILE))
            with_encoder = with_encoder or bool(stored["origin"].get("encoder_tuned", False))
            weights = load_file(folder / ENCODER_FILE) if with_encoder else None
            expected = folder / EXPECTATION_FILE
            expectation = Expectation.of(load_file(expected)) if expected.exists() else None
            origin, written = dict(stored["origin"]), stored["digest"]
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            raise UserError(f"{folder} is not a whole captioner ({error}): train again or fetch it anew") from error
        captioner = cls(
            decoder=decoder.eval().requires_grad_(False),
            vocabulary=Vocabulary.load(folder / VOCABULARY_FILE),
            provenance=provenance,
            decode=decode,
            origin=origin,
            encoder=rebuild(provenance, weights, folder / ENCODER_FILE) if weights is not None else None,
            expectation=expectation,
        )
        if captioner.digest() != written:
            raise UserError(f"{folder} was changed after it was written: its digest differs; fetch or train it anew")
        return captioner
