"""A frozen CNN up to a layer: which grid it gives, in which order, and that it stays as it is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from src.config import Embed
from src.encoders import loading as encoders
from src.encoders.encoder import Encoder, Provenance
from src.encoders.network import NORMALISATIONS
from src.errors import UserError


def random_encoder(name: str = "resnet18", seed: int = 0, **changes: Any) -> Encoder:
    settings = {"encoder": name, "weights": "random", "image_size": 64, "precision": "fp32"}
    return encoders.load(Embed(**(settings | changes)), seed)


def pictures(count: int = 2, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def calls(encoder: Encoder, layer: str) -> list[torch.Tensor]:
    """What a layer of torchvision's own network puts out, each time it is called."""
    network = torchvision.models.get_model(encoder.name, weights=None).eval()
    network.load_state_dict(encoder.network.state_dict())
    seen: list[torch.Tensor] = []
    network.get_submodule(layer).register_forward_hook(lambda module, entered, grid: seen.append(grid.clone()))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMALISATIONS["imagenet"])
    with torch.inference_mode():
        network((pictures() / 255 - mean) / std)
    return seen


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("mobilenet_v3_small", "features"),
        ("densenet121", "features"),
        ("squeezenet1_1", "features"),
        ("shufflenet_v2_x0_5", "conv5"),
    ],
)
def test_the_default_is_the_last_grid_before_the_classifier(name, layer):
    assert random_encoder(name).layer == layer


def test_regions_are_read_row_by_row():
    encoder = random_encoder(layer="layer3")
    (expected,) = calls(encoder, "layer3")
    with torch.inference_mode():
        grid = encoder(pictures())
    assert grid.shape == (2, encoder.rows * encoder.columns, encoder.features)
    for row in range(encoder.rows):
        for column in range(encoder.columns):
            region = grid[:, row * encoder.columns + column]
            torch.testing.assert_close(region, expected[:, :, row, column], rtol=1e-4, atol=1e-4)


def test_densenets_last_grid_is_rectified_as_its_classifier_sees_it():
    encoder = random_encoder("densenet121")
    with torch.inference_mode():
        grid = encoder(pictures())
    assert (grid >= 0).all() and grid.any()


def test_a_layer_that_is_called_again_is_tapped_at_its_first_call():
    encoder = random_encoder("resnet50", layer="layer4.0.relu")
    first, *later = calls(encoder, "layer4.0.relu")
    assert later[-1].shape != first.shape
    with torch.inference_mode():
        torch.testing.assert_close(encoder(pictures()), first.flatten(2).transpose(1, 2), rtol=1e-3, atol=1e-3)
    assert encoder.features == first.shape[1]


def test_a_layer_that_is_no_grid_is_answered_with_those_that_are():
    with pytest.raises(UserError, match=r"embed\.layer is 'fc', which is no grid of resnet18: one of .*layer4"):
        random_encoder(layer="fc")


def test_a_layer_with_its_channels_last_is_no_grid():
    with pytest.raises(UserError, match=r"embed\.layer is 'features', which is no grid of swin_t: one of .*permute"):
        random_encoder("swin_t", layer="features")


def test_a_vision_transformer_has_no_grid_to_offer():
    with pytest.raises(UserError, match="vit_b_32 keeps no rows and columns"):
        random_encoder("vit_b_32", image_size=224)


@pytest.mark.parametrize("name", ["inception_v3", "vit_b_32"])
def test_a_size_the_network_cannot_read_is_named(name):
    with pytest.raises(UserError, match=f"{name} cannot read pictures of 32 pixels"):
        random_encoder(name, image_size=32)


def test_batch_norm_does_not_drift_while_something_else_is_trained():
    encoder = random_encoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.nn.Sequential(encoder).train()
    for _ in range(2):
        encoder(pictures())
    assert not any(module.training for module in encoder.modules())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_random_weights_are_those_of_the_seed_and_leave_the_programs_own_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = random_encoder("shufflenet_v2_x0_5", seed=1).provenance.weights
    assert torch.equal(torch.rand(1), expected)
    assert first == random_encoder("shufflenet_v2_x0_5", seed=1).provenance.weights
    assert first != random_encoder("shufflenet_v2_x0_5", seed=2).provenance.weights


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_gives_nearly_the_grid_of_single_precision(encoder, settings, precision):
    half = encoders.load(settings.model_copy(update={"precision": precision}))
    with torch.inference_mode():
        expected, found = encoder(pictures()), half(pictures()).float()
    assert float((found - expected).abs().mean()) < 0.03 * float(expected.abs().mean())


def test_the_whole_picture_becomes_a_square(encoder):
    picture = Image.new("RGB", (200, 50), "black")
    picture.paste("red", (0, 0, 50, 50))
    pixels = encoder.pixels(picture)
    assert (pixels.shape, pixels.dtype) == ((3, 64, 64), np.uint8)
    assert pixels[0, :, :14].min() > 240 and pixels[0, :, 20:].max() < 15 and pixels[1:, 32].max() < 15


def test_weights_of_another_shape_are_named(tmp_path):
    encoder = random_encoder()
    state = encoder.used_state()
    state["layer1.0.conv1.weight"] = torch.zeros(3, 3)
    with pytest.raises(UserError, match=r"w\.pth: layer1\.0\.conv1\.weight has shape \[3, 3\]"):
        encoder.load_used_state(state, "w.pth")


def test_weights_that_lack_a_tensor_are_refused_whole():
    encoder = random_encoder()
    before = encoder.provenance.weights
    state = {key: value + 1 for key, value in encoder.used_state().items()}
    del state["layer4.1.bn2.running_var"]
    with pytest.raises(UserError, match=r"lacks 1 of the .*first: layer4\.1\.bn2\.running_var"):
        encoder.load_used_state(state, "w.pth")
    assert encoder.provenance.weights == before


def test_only_weights_before_the_tap_are_needed(tmp_path):
    state = {key: value.contiguous() for key, value in random_encoder(seed=3).network.state_dict().items()}
    path = tmp_path / "early.safetensors"
    save_file({key: value for key, value in state.items() if not key.startswith(("layer3", "layer4", "fc"))}, path)
    early = random_encoder(layer="layer2", weights=str(path))
    assert torch.equal(early.network.state_dict()["layer2.1.conv2.weight"], state["layer2.1.conv2.weight"])
    with pytest.raises(UserError, match="tap an earlier one"):
        random_encoder(layer="layer3", weights=str(path))


def test_an_encoder_is_rebuilt_from_what_is_kept_with_a_captioner(encoder):
    again = encoders.rebuild(encoder.provenance, encoder.used_state(), "bundle")
    with torch.inference_mode():
        assert torch.equal(again(pictures()), encoder(pictures()))


@pytest.mark.parametrize("name", ["mnasnet0_5", "shufflenet_v2_x0_5", "googlenet", "efficientnet_lite0"])
def test_every_family_is_rebuilt(name):
    encoder = random_encoder(name, image_size=96)
    again = encoders.rebuild(encoder.provenance, encoder.used_state(), "bundle")
    expected = encoder(pictures(size=96))
    # Random weights leave little of the signal, and a provenance rounds what pixels are scaled by.
    torch.testing.assert_close(again(pictures(size=96)), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_densenets_published_names_are_those_of_a_time_that_allowed_points(tmp_path):
    encoder = random_encoder("densenet121")
    state = {re.sub(r"(norm|conv)([12])\.", r"\1.\2.", key) if "denselayer" in key else key: value
             for key, value in encoder.used_state().items()}  # fmt: skip
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "densenet121.pth")
    again = random_encoder("densenet121", seed=1, weights=str(tmp_path / "densenet121.pth"))
    assert torch.equal(again(pictures()), encoder(pictures()))


def test_an_encoder_with_its_own_scaling_is_rebuilt_with_it():
    encoder = random_encoder("shufflenet_v2_x0_5", normalisation="half")
    again = encoders.rebuild(encoder.provenance, encoder.used_state(), "bundle")
    with torch.inference_mode():
        assert torch.equal(again(pictures()), encoder(pictures()))


def test_weights_of_another_encoder_are_no_rebuilding(encoder):
    other = {key: value + 0.1 for key, value in encoder.used_state().items()}
    with pytest.raises(UserError, match="bundle does not hold the encoder its description names"):
        encoders.rebuild(encoder.provenance, other, "bundle")


@pytest.mark.parametrize("change", [{"layer": "layer3"}, {"normalisation": "half"}, {"precision": "bf16"}])
def test_what_changes_the_grid_changes_the_provenance(change):
    (key,) = change
    difference = random_encoder(**change).provenance.difference(random_encoder().provenance)
    assert {"normalisation": "mean"}.get(key, key) in difference


def test_a_provenance_comes_back_from_json(encoder):
    assert Provenance.from_json(encoder.provenance.to_json()) == encoder.provenance
