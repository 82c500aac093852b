"""Batch norms inside the convolutions before them give the grids that they gave beside them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from src.config import Embed
from src.encoders import loading
from src.encoders.encoder import Encoder, digest
from src.encoders.folding import folded

FAMILIES = {
    # norms that are left: DenseNet's come before their convolution, GoogLeNet's and all others' behind it.
    "resnet18": 0,
    "densenet121": 62,
    "mobilenet_v3_small": 0,
    "shufflenet_v2_x0_5": 0,
    "mnasnet0_5": 0,
    "regnet_y_400mf": 0,
    "efficientnet_b0": 0,
    "googlenet": 0,
    "squeezenet1_1": 0,
    "efficientnet_lite0": 0,
}


def encoder(name: str, **changes: Any) -> Encoder:
    """One whose batch norms have seen something: fresh ones are no more than a factor of one."""
    found = loading.load(Embed(encoder=name, weights="random", image_size=96, precision="fp32", **changes), seed=1)
    generator = torch.Generator().manual_seed(2)
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                values.detach().uniform_(0.7, 1.4, generator=generator)
            for values in (module.bias, module.running_mean):
                values.detach().normal_(std=0.1, generator=generator)
    return found


def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def norms(encoder: Encoder) -> int:
    """In use."""
    modules = encoder.network.named_modules()
    return sum(isinstance(module, nn.BatchNorm2d) and name in encoder.used for name, module in modules)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_grids_stay(name):
    before = encoder(name)
    after = folded(before)
    with torch.inference_mode():
        expected, found = before(pictures()), after(pictures())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert norms(after) == FAMILIES[name]


def test_the_encoder_itself_is_left_alone():
    own = encoder("resnet18")
    before, count = digest(own.used_state()), norms(own)
    folded(own)
    assert (digest(own.used_state()), norms(own)) == (before, count)


def test_a_norm_that_is_tapped_stays():
    own = encoder("resnet18", layer="layer2.0.bn2")
    with torch.inference_mode():
        expected, found = own(pictures()), folded(own)(pictures())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_each_of_several_side_by_side_is_folded():
    own = encoder("resnet18+mobilenet_v3_small")
    after = folded(own)
    assert not any(isinstance(module, nn.BatchNorm2d) and module.training for module in after.modules())
    with torch.inference_mode():
        torch.testing.assert_close(after(pictures()), own(pictures()), rtol=1e-3, atol=1e-3)
    assert sum(map(norms, after.encoders)) == 0


def test_one_that_learns_can_be_looked_through_too():
    own = encoder("resnet18")
    own.learn(checkpointing=True)
    own(pictures()).sum().backward()
    assert not any(parameter.requires_grad for parameter in folded(own).parameters())
    assert all(parameter.requires_grad for parameter in own.learnable())
