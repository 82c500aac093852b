"""Several encoders as one: their grids side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from src.config import Embed, Precision
from src.encoders.encoder import Encoder, Provenance, digest
from src.errors import UserError


class SideBySide(Encoder):
    """The grids of all members, joined region by region.

    A region's features are those of each member, each brought to mean 0 and variance 1 by itself, so that none drowns
    another. The first member decides on rows and columns; the others' grids are interpolated to them. Pictures are read
    once, at the largest member's size.
    """

    def __init__(self, members: Sequence[Encoder]) -> None:
        nn.Module.__init__(self)
        self.members = nn.ModuleList(members)
        self.name = "+".join(member.name for member in members)
        self.layer = "+".join(member.layer for member in members)
        self.image_size = max(member.image_size for member in members)
        self.rows, self.columns = members[0].rows, members[0].columns
        self.features = sum(member.features for member in members)

    @property
    def encoders(self) -> list[Encoder]:
        return [member for member in self.members if isinstance(member, Encoder)]

    @property
    def precision(self) -> Precision:
        return self.encoders[0].precision

    @precision.setter
    def precision(self, precision: Precision) -> None:
        for member in self.encoders:
            member.precision = precision

    def forward(self, pixels: UInt8[Tensor, "image 3 row column"]) -> Float[Tensor, "image region feature"]:
        return torch.cat([self._seen(member, pixels) for member in self.encoders], dim=-1)

    def _seen(self, member: Encoder, pixels: Tensor) -> Float[Tensor, "image region feature"]:
        if member.image_size != pixels.shape[-1]:
            size = (member.image_size, member.image_size)
            pixels = functional.interpolate(pixels.float(), size, mode="bilinear", align_corners=False)
        grid: Tensor = member(pixels).float()
        if (member.rows, member.columns) != (self.rows, self.columns):
            square = grid.transpose(1, 2).reshape(len(grid), -1, member.rows, member.columns)
            square = functional.interpolate(square, (self.rows, self.columns), mode="bilinear", align_corners=False)
            grid = square.flatten(2).transpose(1, 2)
        return functional.layer_norm(grid, grid.shape[-1:])

    @property
    def provenance(self) -> Provenance:
        parts = tuple(member.provenance for member in self.encoders)
        first = parts[0]
        return Provenance(
            encoder=self.name,
            weights=digest(self.used_state()),
            layer=self.layer,
            image_size=self.image_size,
            mean=first.mean,
            std=first.std,
            resize="squash",
            precision=self.precision,
            rows=self.rows,
            columns=self.columns,
            features=self.features,
            parts=parts,
        )

    def learnable(self) -> list[nn.Parameter]:
        return [parameter for member in self.encoders for parameter in member.learnable()]

    def learn(self, checkpointing: bool = False) -> None:
        for member in self.encoders:
            member.learn(checkpointing)

    def used_state(self) -> dict[str, Tensor]:
        return {
            f"{index}.{key}": value
            for index, member in enumerate(self.encoders)
            for key, value in member.used_state().items()
        }

    def load_used_state(self, state: dict[str, Tensor], source: Path | str) -> None:
        for member, own in zip(self.encoders, separated(state, len(self.encoders)), strict=True):
            member.load_used_state(own, source)


def separated(state: dict[str, Tensor], count: int) -> list[dict[str, Tensor]]:
    """Each member's share of what `used_state` gave."""
    named = [key.split(".", 1) for key in state]
    return [{key: state[f"{index}.{key}"] for place, key in named if place == str(index)} for index in range(count)]


def members(settings: Embed) -> list[Embed]:
    """The settings of each encoder named in `embed.encoder`; where layers or weights are joined by '+' as well, each
    gets its own.

    Raises:
        UserError: there are more or fewer layers or weights than encoders.
    """
    names = settings.encoder.split("+")
    own: dict[str, list[str]] = {}
    for key in ("layer", "weights"):
        value = getattr(settings, key)
        own[key] = value.split("+") if "+" in value else [value] * len(names)
        if len(own[key]) != len(names):
            raise UserError(
                f"embed.{key} is {value!r}, which is {len(own[key])} for the {len(names)} encoders of "
                f"{settings.encoder}: name one for each, joined by '+' ('default' where nothing else is wanted)"
            )
    return [
        settings.model_copy(update={"encoder": name, "layer": layer, "weights": weights})
        for name, layer, weights in zip(names, own["layer"], own["weights"], strict=True)
    ]
