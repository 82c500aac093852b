"""An encoder: pixels in, a grid of region features out."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from src.config import Embed
from src.encoders import network as networks
from src.errors import UserError
from src.precision import autocast

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provenance:
    """Everything that decides what a grid is, and its shape: two grids with equal provenance can be mixed."""

    encoder: str
    weights: str
    """SHA-256 over the names and values of the parameters in use."""
    layer: str
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["squash"]
    """The whole picture is scaled to a square, so that nothing at its border is lost."""
    precision: str
    rows: int
    columns: int
    features: int
    parts: tuple[Provenance, ...] = ()
    """Of each encoder, where several stand side by side; `mean` and `std` are then the first one's."""

    @property
    def regions(self) -> int:
        return self.rows * self.columns

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        if not self.parts:
            del record["parts"]
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Provenance:
        parts = tuple(map(cls.from_json, record.get("parts", ())))
        return cls(**{**record, "mean": tuple(record["mean"]), "std": tuple(record["std"]), "parts": parts})

    def difference(self, other: Provenance) -> str:
        """What differs, as 'key: this, not that'; empty when nothing does."""
        mine, theirs = self.to_json(), other.to_json()
        keys = [key for key in mine | theirs if mine.get(key) != theirs.get(key)]
        return "; ".join(f"{key}: {mine.get(key)!r}, not {theirs.get(key)!r}" for key in keys)


def _twice(forward: Callable[..., Tensor], *entered: Tensor | list[Tensor]) -> Tensor:
    """Computed again in the backward pass, from what entered: a dense block goes on adding to the list that it gave."""
    kept = (list(one) if isinstance(one, list) else one for one in entered)
    found: Tensor = checkpoint(forward, *kept, use_reentrant=False, preserve_rng_state=False)  # nothing is random
    return found


LATE = 4
"""One in so many blocks is among the last, which are not computed again: what they keep is small in most networks, and
free before the backward pass comes to the first ones."""

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class Encoder(nn.Module):
    """A frozen CNN up to one of its layers.

    Batch norm never learns or drifts here: the module stays in evaluation mode whatever `train()` says.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, network: networks.Network, settings: Embed) -> None:
        super().__init__()
        self.network = network.module.eval()
        self.name = name
        self.precision = settings.precision
        self.checkpointing = False
        self.image_size = settings.image_size or network.image_size
        scale = settings.normalisation if settings.normalisation != "default" else network.normalisation
        self.register_buffer("mean", torch.tensor(networks.NORMALISATIONS[scale][0]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(networks.NORMALISATIONS[scale][1]).view(1, 3, 1, 1), persistent=False)
        self.layer, self.used, (self.features, self.rows, self.columns) = self._trace(settings.layer)
        self.rectified = network.rectified and "." not in self.layer
        self.network.get_submodule(self.layer).register_forward_hook(_stop)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Encoder:
        return super().train(False)

    def forward(self, pixels: UInt8[Tensor, "image 3 row column"]) -> Float[Tensor, "image region feature"]:
        """Grids of a batch of pictures, regions in reading order (row by row), in the precision of the settings."""
        device = pixels.device
        scaled = ((pixels.to(torch.float32) / 255 - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with autocast(device, self.precision):
            try:
                self.network(scaled)
            except Reached as reached:
                grid = reached.grid
            else:
                raise RuntimeError(f"{self.name} finished without passing its layer {self.layer}")
        if self.rectified:
            grid = grid.relu()
        return grid.flatten(2).transpose(1, 2)

    def pixels(self, image: Image.Image) -> UInt8[np.ndarray, "3 row column"]:
        """An RGB picture at the encoder's size, channels first."""
        square = image.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))

    @property
    def provenance(self) -> Provenance:
        return Provenance(
            encoder=self.name,
            weights=digest(self.used_state()),
            layer=self.layer,
            image_size=self.image_size,
            mean=rounded(self.mean.flatten().tolist()),
            std=rounded(self.std.flatten().tolist()),
            resize="squash",
            precision=self.precision,
            rows=self.rows,
            columns=self.columns,
            features=self.features,
        )

    def learnable(self) -> list[nn.Parameter]:
        """What fine-tuning may change: the parameters in use but those of batch norms, whose statistics are frozen."""
        norms = {f"{name}." for name, module in self.network.named_modules() if isinstance(module, _NORMS)}
        return [
            parameter
            for key, parameter in self.network.named_parameters()
            if key.rpartition(".")[0] in self.used and key.rpartition(".")[0] + "." not in norms
        ]

    def learn(self, checkpointing: bool = False) -> None:
        """Let gradients through from here on.

        Args:
            checkpointing: keep what goes into each block but the last ones and compute the block again in the backward
                pass. A network without blocks, a mere sequence of layers such as VGG's, keeps all.
        """
        for parameter in self.learnable():
            parameter.requires_grad_(True)
        if checkpointing and not self.checkpointing:
            self.checkpointing = True
            blocks = self._blocks()
            if not blocks:
                log.warning(
                    "%s has no blocks to compute again: gradient checkpointing saves none of its memory", self.name
                )
            for block in blocks[: len(blocks) - len(blocks) // LATE]:
                block.forward = partial(_twice, block.forward)

    def _blocks(self) -> list[nn.Module]:
        """The network's largest parts that the grid passes through whole: its children, or theirs where a child is a
        sequence or a list, and the layers of dense blocks: each reads all before it, together they keep the most of
        all. No single layers: what goes into one is kept anyway."""
        around = self.layer.split(".")
        outside = {".".join(around[:depth]) for depth in range(1, len(around) + 1)}
        parts = list(self.network.named_children())
        for kind in (nn.Sequential, (nn.ModuleDict, nn.ModuleList)):
            parts = [
                (f"{name}.{inner_name}" if inner_name else name, inner)
                for name, part in parts
                for inner_name, inner in (part.named_children() if isinstance(part, kind) else [("", part)])
            ]
        return [part for name, part in parts if name in self.used and name not in outside and any(part.children())]

    def used_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the modules the grid passes through: what has to be kept to caption again."""
        return {
            key: value.contiguous()
            for key, value in self.network.state_dict().items()
            if key.rpartition(".")[0] in self.used and not key.endswith("num_batches_tracked")
        }

    def load_used_state(self, state: dict[str, Tensor], source: Path | str) -> None:
        """Take weights by name, in this module's precision.

        Raises:
            UserError: a parameter the grid needs is absent or has another shape, or no name fits at all.
        """
        wanted = self.used_state()
        missing = sorted(set(wanted) - set(state))
        if missing:
            raise UserError(
                f"{source} lacks {len(missing)} of the {len(wanted)} tensors {self.name} needs up to layer "
                f"{self.layer!r} (first: {missing[0]}): tap an earlier one (-S embed.layer=NAME) or fitting weights"
            )
        for key, value in wanted.items():
            if state[key].shape != value.shape:
                raise UserError(
                    f"{source}: {key} has shape {list(state[key].shape)}, {self.name} needs {list(value.shape)}"
                )
        loaded = OrderedDict((key, state[key].float()) for key in wanted)
        loaded._metadata = self.network.state_dict()._metadata  # type: ignore[attr-defined]  # MNASNet asks for it
        self.network.load_state_dict(loaded, strict=False)

    def _trace(self, layer: str) -> tuple[str, frozenset[str], tuple[int, int, int]]:
        """Run once and see: which modules lie before the tap, and the grid's shape (features, rows, columns)."""
        grids: dict[str, tuple[int, ...]] = {}
        order: list[str] = []

        def watch(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                order.append(name)
                # A residual block's ReLU is called again with another shape: the tap takes the first call.
                first = order.count(name) == 1
                # A square picture's grid is square; (7, 7, 768) has its channels last, as Swin's layers do.
                if first and isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
                    grids[name] = tuple(output.shape[1:])

            return hook

        handles = [module.register_forward_hook(watch(name)) for name, module in self.network.named_modules() if name]
        try:
            with torch.inference_mode():
                self.network(torch.zeros(1, 3, self.image_size, self.image_size))
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"{self.name} cannot read pictures of {self.image_size} pixels: {error}") from error
        finally:
            for handle in handles:
                handle.remove()
        if layer == "default":
            # SqueezeNet classifies with a convolution: what it says of each region is a label, no feature.
            features = [name for name in grids if not name.startswith("classifier")]
            layer = max(features, key=order.index, default="")
            # A vision transformer has rows and columns in its first layer alone, before it has looked at anything.
            if not layer or order.index(layer) < len(order) // 2:
                raise UserError(f"{self.name} keeps no rows and columns to its end: choose another embed.encoder")
        if layer not in grids:
            raise UserError(
                f"embed.layer is {layer!r}, which is no grid of {self.name}: one of {', '.join(_outer(grids))}"
            )
        before = order[: order.index(layer) + 1]
        shape = grids[layer]
        return layer, frozenset(before) | {""}, (shape[0], shape[1], shape[2])


def digest(state: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values (as fp32), in the order of the names."""
    total = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().float().contiguous().cpu()
        total.update(f"{key}{list(value.shape)}".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


class Reached(Exception):
    """The tapped layer has spoken: what ends a run of the network."""

    def __init__(self, grid: Tensor) -> None:
        self.grid = grid


def _stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
    """Nothing behind the tapped layer has to be computed."""
    raise Reached(output)


def _outer(names: dict[str, Any]) -> list[str]:
    """Layer names without those inside another one: short enough to print."""
    return [name for name in names if name.count(".") <= 1]


def rounded(channels: Iterable[float]) -> tuple[float, float, float]:
    """Red, green and blue as they are written down: fp32 has no more digits that are sure."""
    red, green, blue = (round(value, 6) for value in channels)
    return red, green, blue
