"""Several encoders' grids side by side are one encoder's grid to everything else."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from src.config import Embed
from src.encoders import loading as encoders
from src.encoders.cache import _check
from src.encoders.encoder import Encoder, Provenance
from src.errors import UserError

SETTINGS = Embed(
    encoder="shufflenet_v2_x0_5+resnet18",
    layer="default+layer3",
    weights="random",
    precision="fp32",
    image_size=64,
)


@pytest.fixture(scope="module")
def pair() -> Encoder:
    return encoders.load(SETTINGS)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_region_has_the_features_of_both_each_brought_to_one_scale(pair, pixels):
    grid = pair(pixels)
    first = encoders.load(SETTINGS.model_copy(update={"encoder": "shufflenet_v2_x0_5", "layer": "default"}))
    assert (pair.rows, pair.columns) == (first.rows, first.columns)
    assert grid.shape == (2, pair.rows * pair.columns, pair.features)
    expected = first(pixels)
    torch.testing.assert_close(grid[..., : first.features], functional.layer_norm(expected, expected.shape[-1:]))
    second = grid[..., first.features :]
    assert second.shape[-1] == 256
    torch.testing.assert_close(second.mean(-1), torch.zeros(grid.shape[:2]), atol=1e-4, rtol=0)


def test_what_it_was_is_written_down_and_read_again(pair, pixels):
    again = Provenance.from_json(pair.provenance.to_json())
    assert again == pair.provenance
    assert [part.encoder for part in again.parts] == ["shufflenet_v2_x0_5", "resnet18"]
    rebuilt = encoders.rebuild(again, pair.used_state(), "bundle")
    assert torch.equal(rebuilt(pixels), pair(pixels))


def test_the_weights_of_another_pair_are_refused(pair):
    other = encoders.load(SETTINGS, seed=1)
    with pytest.raises(UserError, match="bundle does not hold the encoder"):
        encoders.rebuild(pair.provenance, other.used_state(), "bundle")


def test_each_encoder_wants_its_layer():
    with pytest.raises(UserError, match=r"embed\.layer is 'a\+b\+c', which is 3 for the 2 encoders"):
        encoders.load(SETTINGS.model_copy(update={"layer": "a+b+c"}))


def test_a_cache_is_held_against_the_layers_that_were_named(pair, tmp_path):
    _check(tmp_path, pair.provenance, SETTINGS)
    made_otherwise = dataclasses.replace(pair.provenance, layer=pair.provenance.layer.replace("layer3", "layer4"))
    with pytest.raises(UserError, match="layer is"):
        _check(tmp_path, made_otherwise, SETTINGS)


def test_a_layer_named_once_is_every_encoders(pair, tmp_path):
    made = dataclasses.replace(pair.provenance, layer="layer3+layer3")
    _check(tmp_path, made, SETTINGS.model_copy(update={"layer": "layer3"}))
    with pytest.raises(UserError, match=r"params\.yaml says 'layer4\+layer4'"):
        _check(tmp_path, made, SETTINGS.model_copy(update={"layer": "layer4"}))


def test_a_cache_is_held_against_how_the_pixels_of_each_were_scaled(pair, tmp_path):
    _check(tmp_path, pair.provenance, SETTINGS.model_copy(update={"normalisation": "imagenet"}))
    first, second = pair.provenance.parts
    scaled_otherwise = dataclasses.replace(pair.provenance, parts=(first, dataclasses.replace(second, std=(1, 1, 1))))
    with pytest.raises(UserError, match="std is"):
        _check(tmp_path, scaled_otherwise, SETTINGS.model_copy(update={"normalisation": "imagenet"}))


def test_pictures_are_read_at_the_size_of_the_largest():
    sizes = Embed(encoder="efficientnet_lite0+efficientnet_lite1", weights="random", precision="fp32")
    both = encoders.load(sizes)
    assert both.image_size == 240
    grid = both(torch.zeros(1, 3, 240, 240, dtype=torch.uint8))
    assert grid.shape == (1, both.rows * both.columns, 2560)
