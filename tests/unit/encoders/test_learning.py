"""An encoder that is let to learn: which of its parameters, and at what price in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from src.config import Embed
from src.encoders import encoder as encoder_module
from src.encoders import loading as encoders
from src.encoders.encoder import Encoder

NETWORKS = ("resnet18", "densenet121", "squeezenet1_1", "efficientnet_lite0")
WITHOUT_BLOCKS = "vgg11"


def learning(name: str, checkpointing: bool = False) -> Encoder:
    encoder = encoders.load(Embed(encoder=name, weights="random", image_size=64, precision="fp32"))
    encoder.learn(checkpointing=checkpointing)
    return encoder


def gradients(encoder: Encoder) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)
    grids = encoder.train()(pixels)
    (grids * torch.randn(grids.shape, generator=generator)).sum().backward()
    return {name: value.grad for name, value in encoder.network.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_that_the_grid_passes_through_learns_but_batch_norms(name):
    encoder = learning(name)
    norms = {key for key, part in encoder.network.named_modules() if isinstance(part, nn.BatchNorm2d)}
    wanted = {
        key
        for key, _ in encoder.network.named_parameters()
        if key.rpartition(".")[0] in encoder.used and key.rpartition(".")[0] not in norms
    }
    assert gradients(encoder).keys() == wanted
    assert {id(encoder.network.get_parameter(key)) for key in wanted} == set(map(id, encoder.learnable()))


def test_statistics_of_batch_norms_stay_while_it_learns():
    encoder = learning("resnet18")
    before = {key: value.clone() for key, value in encoder.network.named_buffers()}
    gradients(encoder)
    assert all(torch.equal(value, before[key]) for key, value in encoder.network.named_buffers())


def test_an_encoder_learns_nothing_until_it_is_let():
    encoder = encoders.load(Embed(encoder="resnet18", weights="random", image_size=64, precision="fp32"))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_that_are_computed_again_give_the_same_gradients_and_keep_less(name):
    def outcome(checkpointing: bool) -> tuple[dict[str, torch.Tensor], int]:
        stored: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        encoder = learning(name, checkpointing)
        known = {value.untyped_storage().data_ptr() for value in [*encoder.parameters(), *encoder.buffers()]}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encoder(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
        return gradients(encoder), sum(size for address, size in stored.items() if address not in known)

    (plain, whole), (again, kept) = outcome(False), outcome(True)
    assert plain.keys() == again.keys()
    for key, value in plain.items():
        torch.testing.assert_close(again[key], value, rtol=1e-5, atol=0)
    assert kept < 0.75 * whole


def test_dense_blocks_are_computed_again_layer_by_layer_but_for_the_last(monkeypatch):
    encoder, again, kept = learning("densenet121", checkpointing=True), list[nn.Module](), encoder_module.checkpoint

    def noted(forward: Any, *entered: Any, **options: Any) -> Any:
        again.append(forward.__self__)
        return kept(forward, *entered, **options)

    monkeypatch.setattr(encoder_module, "checkpoint", noted)
    gradients(encoder)
    blocks = [part for part in encoder.network.modules() if isinstance(part, nn.ModuleDict)]
    early, last = [layer for block in blocks[:-1] for layer in block.values()], [*blocks[-1].values()]
    assert (len(early), len(last)) == (6 + 12 + 24, 16)
    assert set(early) <= set(again) and not set(blocks) & set(again)
    assert len(set(last) & set(again)) <= 1
    assert len(again) == len(set(again))


def test_a_mere_sequence_of_layers_says_that_nothing_is_saved(caplog):
    assert gradients(learning(WITHOUT_BLOCKS, checkpointing=True)).keys() == gradients(learning(WITHOUT_BLOCKS)).keys()
    assert "vgg11 has no blocks to compute again" in caplog.text


def test_asked_twice_it_computes_blocks_again_once(monkeypatch):
    encoder = learning("resnet18", checkpointing=True)
    calls: list[object] = []
    kept = encoder.network.layer1[0].forward
    encoder.learn(checkpointing=True)
    assert encoder.network.layer1[0].forward is kept
    monkeypatch.setattr(encoder.network.layer1[0], "forward", lambda grid: calls.append(1) or kept(grid))
    gradients(encoder)
    assert calls == [1]
