"""A captioner comes back from its folder as it went in, or not at all."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from src.config import Decode, Embed
from src.data.vocabulary import Vocabulary
from src.decoding.describe import describe
from src.encoders import loading as encoders
from src.encoders.encoder import Encoder
from src.encoders.folding import folded
from src.errors import UserError
from src.models import captioner as bundle
from src.models.captioner import Captioner
from src.models.decoder import Decoder
from src.models.ensemble import together
from src.models.expectation import Expectation

SEARCH = Decode(beam_size=3, max_words=6, length_penalty=0.5, rerank="expected")
FILES = [bundle.CONFIG_FILE, bundle.DECODER_FILE, bundle.ENCODER_FILE, bundle.EXPECTATION_FILE, "vocabulary.json"]


class Command:
    """A pickle of this runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return encoders.load(Embed(encoder="shufflenet_v2_x0_5", weights="random", image_size=64, precision="fp32"))


@pytest.fixture(params=["lstm", "gru", "ensemble"])
def captioner(request, encoder) -> Captioner:
    """Every parameter is away from where it begins, so that a round trip that loses one is seen."""
    shape = encoder.provenance
    changes = {"feature_size": shape.features, "rows": shape.rows, "columns": shape.columns}
    rnn, members = (request.param, 1) if request.param != "ensemble" else ("lstm", 2)
    config = tiny.decoder(rnn, tied=members > 1).config.model_copy(update=changes)
    decoder = together([Decoder(config) for _ in range(members)]).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += torch.randn_like(parameter) * 0.4
    features = torch.randn(12, shape.features)
    expectation = Expectation.learn(features, [[[4, 5, 6 + image % 3]] for image in range(12)])
    origin = {"dataset": "abc", "val_CIDEr": 0.5}
    return Captioner(decoder, tiny.vocabulary(), shape, SEARCH, origin, expectation=expectation)


@pytest.fixture
def folder(captioner, encoder, tmp_path) -> Path:
    weights = tmp_path / "cached.safetensors"
    save_file(encoder.used_state(), weights)
    captioner.save(tmp_path / "model", weights)
    return tmp_path / "model"


def photographs() -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(3)]


def said(captioner: Captioner, grids: torch.Tensor) -> list[list[tuple[tuple[str, ...], float]]]:
    found = describe(captioner.decoder, captioner.vocabulary, grids, captioner.decode, captioner.expectation)
    return [[(caption.words, caption.log_probability) for caption in captions] for captions in found]


def test_it_says_the_same_after_it_was_saved_and_loaded(captioner, folder):
    again = Captioner.load(folder)
    grids = again.grids(photographs())
    assert said(again, grids) == said(captioner, grids)
    for name, value in captioner.decoder.state_dict().items():
        assert torch.equal(again.decoder.state_dict()[name], value), name
    assert again.vocabulary == captioner.vocabulary
    assert again.provenance == captioner.provenance
    assert (again.decode, again.origin, again.name) == (SEARCH, captioner.origin, captioner.name)
    assert again.digest() == captioner.digest()


def test_it_sees_pictures_as_the_cache_did(folder, encoder):
    pixels = torch.from_numpy(np.stack([encoder.pixels(image) for image in photographs()]))
    with torch.inference_mode():
        expected = folded(encoder)(pixels).half()
    assert torch.equal(Captioner.load(folder).grids(photographs()), expected)


def test_it_is_loaded_to_be_used_not_to_be_trained(folder):
    again = Captioner.load(folder)
    assert not again.decoder.training
    assert not any(parameter.requires_grad for parameter in again.decoder.parameters())


@pytest.mark.parametrize(("rerank", "solved"), [("expected", True), ("none", False)])
def test_when_it_is_ready_nothing_is_left_for_the_first_picture(folder, rerank, solved):
    again = Captioner.load(folder)
    again.decode = SEARCH.model_copy(update={"rerank": rerank})
    again.ready()
    assert "_eye" in vars(again)
    assert ("_solver" in vars(again.expectation)) == solved


def test_without_its_encoder_it_captions_cached_grids_only(folder):
    again = Captioner.load(folder, with_encoder=False)
    assert said(again, torch.zeros(1, again.provenance.regions, again.provenance.features))
    with pytest.raises(UserError, match="without its encoder"):
        again.grids(photographs())


def test_weights_words_and_encoder_are_in_its_digest(captioner):
    before = captioner.digest()
    other_words = replace(captioner, vocabulary=Vocabulary(["wolf", *captioner.vocabulary.words[5:]]))
    other_encoder = replace(captioner, provenance=replace(captioner.provenance, weights="other"))
    no_expectation = replace(captioner, expectation=None)
    assert len({before, other_words.digest(), other_encoder.digest(), no_expectation.digest()}) == 4
    with torch.no_grad():
        next(captioner.decoder.parameters()).view(-1)[0] += 1e-3
    assert captioner.digest() != before


def test_a_folder_without_a_captioner_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path.name} holds no captioner"):
        Captioner.load(tmp_path)


@pytest.mark.parametrize("captioner", ["lstm"], indirect=True)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "pickle"])
def test_a_damaged_captioner_is_refused_and_no_pickle_is_run(folder, tmp_path, name, damage):
    path, trace = folder / name, tmp_path / "was run"
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        broken = {"empty": b"", "cut": whole[: len(whole) // 2], "pickle": pickle.dumps(Command(trace))}[damage]
        path.write_bytes(broken)
    with pytest.raises(UserError):
        Captioner.load(folder)
    assert not trace.exists()


@pytest.mark.parametrize("captioner", ["lstm"], indirect=True)
@pytest.mark.parametrize("name", [bundle.DECODER_FILE, bundle.ENCODER_FILE, bundle.EXPECTATION_FILE])
def test_weights_that_somebody_changed_are_refused(folder, name):
    state = load_file(folder / name)
    key = sorted(state)[0]
    state[key] = state[key] + 1e-3
    save_file(state, folder / name)
    with pytest.raises(UserError, match=r"digest differs|does not hold the encoder"):
        Captioner.load(folder)


@pytest.mark.parametrize("captioner", ["lstm"], indirect=True)
def test_words_that_somebody_exchanged_are_refused(folder):
    path = folder / "vocabulary.json"
    path.write_text(path.read_text().replace('"dog"', '"wolf"'))
    with pytest.raises(UserError, match="digest differs"):
        Captioner.load(folder)


@pytest.mark.parametrize("captioner", ["lstm"], indirect=True)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 99),
        ("decoder", {"rnn": "transformer"}),
        ("decode", {"beam_size": 0}),
        ("encoder", {}),
        ("digest", None),
        ("origin", None),
    ],
)
def test_a_description_that_does_not_fit_is_refused(folder, key, value):
    path = folder / bundle.CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match="model"):
        Captioner.load(folder)


@pytest.mark.parametrize("captioner", ["lstm"], indirect=True)
def test_a_description_that_lacks_something_is_refused(folder):
    path = folder / bundle.CONFIG_FILE
    whole = json.loads(path.read_text())
    for key in whole.keys() - {"members"}:  # which says more than one
        path.write_text(json.dumps({name: value for name, value in whole.items() if name != key}))
        with pytest.raises(UserError, match="not a whole captioner"):
            Captioner.load(folder)


@pytest.mark.parametrize("captioner", ["lstm"], indirect=True)
def test_an_old_captioner_is_replaced_whole_or_stays(captioner, folder, tmp_path, monkeypatch):
    before = captioner.digest()
    (folder / "leftover").touch()
    with torch.no_grad():
        next(captioner.decoder.parameters()).add_(1)

    def fail(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="full"):
        broken.setattr(shutil, "copyfile", fail)
        captioner.save(folder, tmp_path / "cached.safetensors")
    assert Captioner.load(folder).digest() == before
    captioner.save(folder, tmp_path / "cached.safetensors")
    assert Captioner.load(folder).digest() == captioner.digest() != before
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
