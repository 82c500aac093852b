"""Attention in C is the attention of PyTorch's operations, and nothing but time is lost without a compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.models import attention, native

CPU = torch.device("cpu")
needs_a_compiler = pytest.mark.skipif(not any(map(shutil.which, native.COMPILERS)), reason="there is no C compiler")


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is compiled or loaded yet. Returns the cache."""
    monkeypatch.setattr(native, "_library", None)
    monkeypatch.setattr(native, "_failure", None)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "captionlab"


def outcome(images: int, captions: int, regions: int, units: int) -> list[Tensor]:
    """Scores, and the gradients of queries, keys and v; the latter two are added to ones."""
    torch.manual_seed(0)
    keys, queries = (attention.exponentials(torch.randn(images, many, units) * 3) for many in (regions, captions))
    v, gradient = torch.randn(units), torch.randn(images, captions, regions)
    by_keys, by_v = torch.ones_like(keys), torch.ones(images, units)
    scores = attention.scores(keys, queries, v)
    by_queries = attention.add_gradients(keys, queries, v, gradient, by_keys, by_v)
    return [scores, by_queries, by_keys, by_v]


@needs_a_compiler
@pytest.mark.parametrize("sizes", [(2, 5, 49, 64), (3, 1, 7, 33), (1, 4, 1, 1), (0, 2, 3, 8)], ids=str)
def test_it_computes_what_pytorchs_operations_do(sizes, monkeypatch):
    assert native.ready()
    found = outcome(*sizes)
    monkeypatch.setattr(native, "serves", lambda keys: False)
    torch.testing.assert_close(found, outcome(*sizes), rtol=1e-5, atol=1e-4)


@needs_a_compiler
def test_keys_and_queries_of_any_size_give_numbers(forgotten):
    assert native.ready()
    huge = attention.exponentials(torch.tensor([[[1e6, -1e6, 1e6]]]))
    found = attention.scores(huge, huge, torch.ones(3))
    torch.testing.assert_close(found, torch.tensor([[[-2.0]]]))


@needs_a_compiler
def test_the_number_of_threads_changes_no_bit():
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(outcome(5, 3, 9, 40))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))


@needs_a_compiler
def test_it_is_compiled_once_and_small_numbers_stay_numbers(forgotten, monkeypatch):
    assert native.described(CPU) == "attention in C"
    (kept,) = forgotten.iterdir()
    assert float(torch.tensor(1e-40) * 1) > 0
    written = kept.stat().st_mtime_ns
    monkeypatch.setattr(native, "_library", None)
    assert native.ready()
    assert [path.stat().st_mtime_ns for path in forgotten.iterdir()] == [written]


@needs_a_compiler
def test_without_a_place_to_keep_it_it_is_compiled_all_the_same(forgotten, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert native.ready()


@pytest.mark.parametrize("compiler", ["/no/compiler", "false"])
def test_without_a_compiler_attention_is_slower_and_says_why(compiler, forgotten, monkeypatch):
    expected = outcome(2, 2, 3, 4)
    monkeypatch.setattr(native, "_library", None)
    monkeypatch.setenv("CC", compiler)
    said = native.described(CPU)
    assert "no C compiler works" in said and compiler in said
    torch.testing.assert_close(outcome(2, 2, 3, 4), expected)
    assert not forgotten.exists() or not [path for path in forgotten.iterdir() if path.suffix != ".so"]


def test_what_it_is_not_for_it_leaves_alone():
    assert not native.serves(torch.ones(1, 1, 1, dtype=torch.float64))
    assert "operations" in native.described(torch.device("cuda"))
