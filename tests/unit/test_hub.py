"""A checkpoint comes from a folder or the hub, as safetensors alone; one that cannot be had is one line, soon."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_checkpoints
import torch

from src import config, hub
from src.errors import UserError
from src.hub import fetch
from src.models.baseline import Baseline

KEY = "some.checkpoint"


def folder(path: Path, *files: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for file in files:
        (path / file).touch()
    return path


@pytest.fixture
def offering(monkeypatch, tmp_path) -> Callable[..., None]:
    """A hub that is in reach and has these files."""

    def offer(*files: str) -> None:
        from huggingface_hub.utils import filter_repo_objects

        def download(name: str, allow_patterns: list[str], local_files_only: bool) -> str:
            assert not local_files_only
            return str(folder(tmp_path / "cache" / name, *filter_repo_objects(files, allow_patterns=allow_patterns)))

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub, "_answers", lambda endpoint: True)

    return offer


def test_a_folder_is_taken_as_it_is(tmp_path):
    found = folder(tmp_path / "model", "config.json", "model-00001-of-00002.safetensors", "pytorch_model.bin")
    assert fetch(str(found), KEY, "tiny") == found


@pytest.mark.parametrize(
    ("files", "lack"),
    [
        ([], r"config\.json is missing"),
        (["config.json"], r"holds no weights as \*\.safetensors"),
        (["config.json", "pytorch_model.bin"], r"pickles .* are never loaded.*save_pretrained.*some\.checkpoint=tiny"),
    ],
)
def test_a_folder_without_a_safe_checkpoint_is_refused(tmp_path, files, lack):
    with pytest.raises(UserError, match=rf"some\.checkpoint is .*{lack}"):
        fetch(str(folder(tmp_path / "model", *files)), KEY, "tiny")


def test_the_way_out_of_a_pickle_leads_to_a_checkpoint_that_is_taken(tmp_path):
    [model, *parts] = tiny_checkpoints.git()
    for part in (model, *parts):
        part.save_pretrained(tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(UserError) as refused:
        fetch(str(tmp_path / "pickled"), KEY, "tiny")

    code = re.search(r'python -c "(.*)"', str(refused.value))
    subprocess.run([sys.executable, "-c", code[1]], cwd=tmp_path, check=True, capture_output=True)

    assert fetch(str(tmp_path / "DIR"), KEY, "tiny") == tmp_path / "DIR"
    assert Baseline.open(config.Baseline(checkpoint=str(tmp_path / "DIR"))).architecture == "git"


def test_of_the_hub_come_weights_and_words_but_no_pickles_and_no_programs(offering, tmp_path):
    offering("config.json", "model.safetensors", "vocab.txt", "pytorch_model.bin", "modeling_own.py")
    found = fetch("owner/model", KEY, "tiny")
    assert {path.name for path in found.iterdir()} == {"config.json", "model.safetensors", "vocab.txt"}


def test_a_checkpoint_of_the_hub_that_is_a_pickle_is_refused(offering):
    offering("config.json", "pytorch_model.bin")
    with pytest.raises(UserError, match=r"'owner/model'.*holds no weights as \*\.safetensors"):
        fetch("owner/model", KEY, "tiny")


def test_a_checkpoint_downloaded_earlier_needs_no_hub(monkeypatch, tmp_path):
    kept = tmp_path / "models--owner--model"
    snapshot = folder(kept / "snapshots" / "abc", "config.json", "model.safetensors")
    folder(kept / "refs")
    (kept / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "_answers", lambda endpoint: False)
    assert fetch("owner/model", KEY, "tiny") == snapshot


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"'nobody/nothing'.*cannot be reached.*Give a folder.*checkpoint=tiny"):
        fetch("nobody/nothing", KEY, "tiny")
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("endpoint", ["hub.example", "localhost:8080"])
def test_an_endpoint_without_its_scheme_is_named(monkeypatch, endpoint):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    with pytest.raises(UserError, match=f"HF_ENDPOINT is '{endpoint}': begin it with https://"):
        fetch("owner/model", KEY, "tiny")


def test_what_the_hub_answers_is_passed_on(offering, monkeypatch):
    def refuse(*arguments: object, **options: object) -> str:
        raise ConnectionResetError("reset by peer")

    offering()
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(UserError, match=r"'owner/model'.*does not give it \(reset by peer\)"):
        fetch("owner/model", KEY, "tiny")


def test_a_name_that_no_hub_has_is_refused(monkeypatch):
    monkeypatch.setattr(hub, "_answers", lambda endpoint: False)
    with pytest.raises(UserError, match=r"'a b//c': there is no such folder, and it is no hub name"):
        fetch("a b//c", KEY, "tiny")


def test_transformers_speaks_again_afterwards():
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with hub.quietly():
        assert not logging.is_progress_bar_enabled()
        with hub.quietly():
            pass
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
