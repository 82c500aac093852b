"""A decoder in C is the decoder of PyTorch's operations, and nothing but time is lost without a compiler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn

from src.models import attention, cells, native
from src.models.cells import State
from src.models.memory import Gradients, Weights, remember
from src.models.recurrence import recur
from src.training.objectives import cross_entropy

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


RNNS = ["lstm", "gru"]
SIZES = [(2, 5, 49, 64, 48), (3, 1, 7, 33, 5), (1, 4, 1, 1, 1), (0, 2, 3, 8, 4)]


def outcome(
    rnn: str, images: int, captions: int, regions: int, units: int, hidden: int, kind: torch.dtype = torch.float32
) -> list[Tensor]:
    """Steps of two captions' lengths and their gradients, with matrix products of a kind."""
    torch.manual_seed(0)
    gates, content = cells.GATES[rnn] * hidden, hidden if rnn == "lstm" else 0
    active = captions, captions, max(1, captions - 1)
    shapes = [
        (images, sum(active), gates), (images, regions, hidden), (images, regions, units),
        (gates + units + 1, hidden), (gates + units + 1,), (units,), (gates, hidden),
        (images, captions, hidden), (images, captions, content),
    ]  # fmt: skip
    # Numbers that every kind has.
    entered = [
        torch.randn(shape).bfloat16().to(torch.promote_types(kind, torch.float32)).requires_grad_() for shape in shapes
    ]
    words, seen, keys, *weights, state, cell = entered
    gradients = Gradients()
    memory = remember(seen, keys, Weights(*weights), kind, gradients)
    found = recur(rnn, active, words.to(kind), memory, State(state.to(kind), cell), gradients)
    values = [found.hidden, found.attention, found.context, *found.state]
    loss = sum((value.float() * torch.randn(value.shape)).sum() for value in values)
    return [x.detach() for x in (*values, *torch.autograd.grad(loss, entered))]


def judged(kind: torch.dtype, smoothing: float) -> list[Tensor]:
    """A loss and its gradients."""
    torch.manual_seed(0)
    vocab, features = nn.Linear(12, 37), (torch.randn(50, 12) * 3).requires_grad_()
    with torch.autocast("cpu", kind, enabled=kind != torch.float32):
        loss = cross_entropy(features, vocab, torch.randint(37, (50,)), smoothing, torch.rand(50))
    return [loss.detach(), *torch.autograd.grad(loss, [features, *vocab.parameters()])]


@pytest.fixture
def in_operations(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(native, "serves", lambda *_: False)


@needs_a_compiler
@pytest.mark.parametrize("rnn", RNNS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_it_is_as_near_to_double_precision_as_pytorchs_operations(rnn, kind, sizes, in_operations):
    assert native.ready()
    found, exact = outcome(rnn, *sizes, kind), outcome(rnn, *sizes, torch.float64)
    in_operations()
    written = outcome(rnn, *sizes, kind)
    for one, other, true in zip(found, written, exact, strict=True):
        assert float((one - true).norm()) <= 1.05 * float((other - true).norm()) + 1e-5 * float(true.norm())


@needs_a_compiler
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("kind", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01)], ids=str)
def test_a_loss_and_its_gradients_are_those_of_pytorchs_operations(kind, near, smoothing, in_operations):
    assert native.ready()
    found = judged(kind, smoothing)
    in_operations()
    torch.testing.assert_close(found, judged(kind, smoothing), rtol=near, atol=near)


@needs_a_compiler
@pytest.mark.parametrize("rnn", RNNS)
def test_gradients_that_lie_otherwise_in_memory_are_the_same(rnn):
    def gradients(turned: bool) -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        shapes = [(2, 4, cells.GATES[rnn] * 6), (2, 3, 6), (2, 3, 5), (cells.GATES[rnn] * 6 + 6, 6)]
        shapes += [(cells.GATES[rnn] * 6 + 6,), (5,), (cells.GATES[rnn] * 6, 6), (2, 2, 6), (2, 2, 6 * (rnn == "lstm"))]
        entered = [torch.randn(shape).requires_grad_() for shape in shapes]
        words, seen, keys, *weights, state, cell = entered
        sums = Gradients()
        given = keys.transpose(1, 2).contiguous().transpose(1, 2) if turned else keys
        memory = remember(seen, given, Weights(*weights), torch.float32, sums)
        hidden = recur(rnn, (2, 2), words, memory, State(state, cell), sums).hidden
        factors = torch.randn(2, 6, 4)
        told = hidden.transpose(1, 2) * factors if turned else hidden * factors.transpose(1, 2).contiguous()
        return torch.autograd.grad(told.sum(), entered, allow_unused=True)

    assert native.ready()
    torch.testing.assert_close(gradients(turned=True), gradients(turned=False))


@needs_a_compiler
@pytest.mark.parametrize("rnn", RNNS)
def test_words_of_another_precision_than_the_memory_are_read_as_what_they_are(rnn, in_operations):
    decoder, words = tiny.decoder(rnn), torch.full((2, 2), 4)

    def said() -> Tensor:
        given = decoder.begin(torch.from_numpy(tiny.grids(2)), 2)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return decoder.next(words, *given)[0]

    assert native.ready()
    found = said()
    in_operations()
    torch.testing.assert_close(found, said(), rtol=0.02, atol=0.02)


@needs_a_compiler
@pytest.mark.parametrize("rnn", RNNS)
def test_what_is_no_number_stays_none(rnn):
    """A run that diverges must be seen to."""
    decoder = tiny.decoder(rnn)
    memory, state = decoder.begin(torch.from_numpy(tiny.grids(2)), 2)
    assert native.serves(memory.keys, memory.regions.dtype)
    hidden = torch.cat([torch.full_like(state.hidden[:1], torch.nan), state.hidden[1:]])
    said, after, looked = decoder.next(torch.full((2, 2), 4), memory, state._replace(hidden=hidden))
    for values in (said, after.hidden, looked):
        assert values[0].isnan().all() and values[1].isfinite().all()


@needs_a_compiler
@pytest.mark.parametrize("rnn", RNNS)
@pytest.mark.parametrize("size", [1e6, -1e6])
def test_states_keys_and_queries_of_any_size_give_numbers(rnn, size):
    decoder = tiny.decoder(rnn)
    memory, state = decoder.begin(torch.from_numpy(tiny.grids(2)), 2)
    huge = memory._replace(keys=attention.exponentials(torch.full_like(memory.keys, size)))
    said, after, looked = decoder.next(torch.full((2, 2), 4), huge, state._replace(hidden=state.hidden * size))
    assert all(values.isfinite().all() for values in (said, after.hidden, looked))
    torch.testing.assert_close(looked.sum(dim=-1), torch.ones(2, 2))


@needs_a_compiler
def test_the_number_of_threads_changes_no_bit():
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(
                [*outcome("lstm", 5, 3, 9, 40, 8), *outcome("gru", 5, 3, 9, 40, 8), *judged(torch.float32, 0.1)]
            )
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))


@needs_a_compiler
def test_it_is_compiled_once_and_small_numbers_stay_numbers(forgotten, monkeypatch):
    assert native.described(CPU) == "the decoder in C"
    (kept,) = forgotten.iterdir()
    assert float(torch.tensor(1e-40) * 1) > 0
    written = kept.stat().st_mtime_ns
    monkeypatch.setattr(native, "_library", None)
    assert native.ready()
    assert [path.stat().st_mtime_ns for path in forgotten.iterdir()] == [written]


@needs_a_compiler
@pytest.mark.parametrize("left", [b"", b"no library"])
def test_what_is_no_library_is_compiled_anew(forgotten, left):
    assert native.ready()
    (kept,) = forgotten.iterdir()
    whole = kept.read_bytes()
    kept.unlink()  # this process still has it
    kept.write_bytes(left)
    script = "import torch; from src.models import native; print(native.described(torch.device('cpu')))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "the decoder in C"
    assert kept.read_bytes() == whole


@needs_a_compiler
def test_without_a_place_to_keep_it_it_is_compiled_all_the_same(forgotten, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert native.ready()


@pytest.mark.parametrize("compiler", ["/no/compiler", "false"])
def test_without_a_compiler_a_decoder_is_slower_and_says_why(compiler, forgotten, monkeypatch):
    expected = outcome("lstm", 2, 2, 3, 4, 5)
    monkeypatch.setattr(native, "_library", None)
    monkeypatch.setenv("CC", compiler)
    said = native.described(CPU)
    assert "no C compiler works" in said and compiler in said
    torch.testing.assert_close(outcome("lstm", 2, 2, 3, 4, 5), expected)
    assert not forgotten.exists() or not [path for path in forgotten.iterdir() if path.suffix != ".so"]


def test_what_it_is_not_for_it_leaves_alone():
    assert not native.serves(torch.ones(1, 1, 1, dtype=torch.float64), torch.float64)
    assert not native.serves(torch.ones(1, 1, 1), torch.float16)
    assert "operations" in native.described(torch.device("cuda"))
