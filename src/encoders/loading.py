"""Encoders by name, with their weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from src.config import Embed
from src.encoders import network as networks
from src.encoders.encoder import Encoder, Provenance
from src.encoders.side_by_side import SideBySide, members, separated
from src.errors import UserError


def load(settings: Embed, seed: int = 0) -> Encoder:
    """The encoder of params.yaml with its weights.

    Raises:
        UserError: unknown encoder or layer; weights missing, damaged or of another architecture.
    """
    if "+" in settings.encoder:
        return SideBySide([load(own, seed) for own in members(settings)])
    if settings.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Encoder(settings.encoder, networks.build(settings.encoder), settings)
    network = networks.build(settings.encoder)
    encoder = Encoder(settings.encoder, network, settings)
    path = networks.weights_file(settings.encoder) if settings.weights == "default" else Path(settings.weights)
    encoder.load_used_state(networks.as_built(network.module, networks.read_weights(path)), path)
    return encoder


def rebuild(provenance: Provenance, state: dict[str, Tensor], source: Path | str) -> Encoder:
    """The encoder that made the grids of `provenance`, from the weights kept with a captioner.

    Raises:
        UserError: the weights are not those of the provenance.
    """
    if provenance.parts:
        states = separated(state, len(provenance.parts))
        return SideBySide([rebuild(*own, source) for own in zip(provenance.parts, states, strict=True)])
    settings = Embed(
        encoder=provenance.encoder,
        layer=provenance.layer,
        image_size=provenance.image_size,
        precision=provenance.precision,  # type: ignore[arg-type]
    )
    encoder = Encoder(provenance.encoder, networks.build(provenance.encoder), settings)
    encoder.mean = torch.tensor(provenance.mean).view(1, 3, 1, 1)
    encoder.std = torch.tensor(provenance.std).view(1, 3, 1, 1)
    encoder.load_used_state(state, source)
    if difference := encoder.provenance.difference(provenance):
        raise UserError(f"{source} does not hold the encoder its description names ({difference})")
    return encoder
