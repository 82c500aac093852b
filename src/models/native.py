"""Additive attention on a processor, compiled from C when it is first needed.

PyTorch's operations pass over an image's captions, regions and units once each, and kernels that TorchInductor fuses
divide twice for every quadruple in the backward pass; `attention.c` does all of it in one pass. Without a C compiler
nothing is lost but time: `attention.py` has the same arithmetic in PyTorch's operations.

The library lies in the user's cache ($XDG_CACHE_HOME, or ~/.cache), under a name that stands for its source, the
compiler and the processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

SOURCE = Path(__file__).with_name("attention.c")
COMPILERS = ("cc", "gcc", "clang")
PROCESSOR = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
FLAGS = ("-O3", PROCESSOR, "-ffast-math", "-fPIC")
THREADS = (("-fopenmp",), ())
"""Apple's compiler knows no OpenMP."""

_library: ctypes.CDLL | None = None
_failure: str | None = None


def serves(keys: Float[Tensor, "image region attention"]) -> bool:
    """Whether attention to these keys runs here."""
    if keys.device.type != "cpu" or keys.dtype != torch.float32:
        return False
    if not torch.compiler.is_compiling():  # what is traced is not run: whoever fuses has called `ready`
        ready()
    return _library is not None


def ready() -> bool:
    """Compile and load, once a process; whether that worked."""
    global _library, _failure
    if _library is None and _failure is None:
        try:
            _library = _loaded()
        except (OSError, subprocess.SubprocessError) as error:
            _failure = _reason(error)
    return _library is not None


def described(device: torch.device) -> str:
    """In words how attention is computed, and why where that is slow."""
    if device.type != "cpu":
        return "attention in PyTorch's operations"
    if ready():
        return "attention in C"
    return f"attention in PyTorch's operations, several times slower, for no C compiler works ({_failure})"


@torch.library.custom_op(
    "captionlab::attention_scores", mutates_args=(), schema="(Tensor keys, Tensor queries, Tensor v) -> Tensor"
)
def scores(keys: Tensor, queries: Tensor, v: Tensor) -> Tensor:
    """As `attention.scores`, for tensors that `serves` takes."""
    found = queries.new_empty(*queries.shape[:2], keys.shape[1])
    _call("scores", keys, queries, v, found)
    return found


@scores.register_fake
def _(keys: Tensor, queries: Tensor, v: Tensor) -> Tensor:
    return queries.new_empty(*queries.shape[:2], keys.shape[1])


@torch.library.custom_op(
    "captionlab::attention_gradients",
    mutates_args=("key_gradient", "v_gradient"),
    schema="(Tensor keys, Tensor queries, Tensor gradient, Tensor(a!) key_gradient, Tensor(b!) v_gradient) -> Tensor",
)
def add_gradients(keys: Tensor, queries: Tensor, gradient: Tensor, key_gradient: Tensor, v_gradient: Tensor) -> Tensor:
    """As `attention.add_gradients`, for tensors that `serves` takes."""
    assert key_gradient.is_contiguous() and v_gradient.is_contiguous()
    found = queries.new_empty(queries.shape)
    _call("gradients", keys, queries, gradient, key_gradient, v_gradient, found)
    return found


@add_gradients.register_fake
def _(keys: Tensor, queries: Tensor, gradient: Tensor, key_gradient: Tensor, v_gradient: Tensor) -> Tensor:
    return queries.new_empty(queries.shape)


def _call(name: str, keys: Tensor, queries: Tensor, *others: Tensor) -> None:
    assert _library is not None
    tensors = [tensor.contiguous() for tensor in (keys, queries, *others)]
    sizes = queries.shape[0], queries.shape[1], keys.shape[1], keys.shape[2]
    getattr(_library, name)(
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
        *map(ctypes.c_long, sizes),
        ctypes.c_int(torch.get_num_threads()),
    )


def _loaded() -> ctypes.CDLL:
    """The library, compiled if this machine's is not in the cache."""
    named = os.environ.get("CC")
    compiler = shlex.split(named) if named else [next(filter(shutil.which, COMPILERS), COMPILERS[0])]
    # What the compiler knows of itself and of the processor.
    macros = _run([*compiler, *FLAGS, "-dM", "-E", "-x", "c", os.devnull])
    name = f"attention-{hashlib.sha256(macros + SOURCE.read_bytes()).hexdigest()[:16]}.so"
    cache = _cache()
    if cache is not None and (cache / name).exists():
        return ctypes.CDLL(str(cache / name))
    with tempfile.TemporaryDirectory(prefix="captionlab-", dir=cache) as folder:
        library = Path(folder) / name
        _compile(compiler, library)
        return ctypes.CDLL(str(library if cache is None else library.replace(cache / name)))


def _cache() -> Path | None:
    """Where libraries are kept; nothing if there is no home, or one that cannot be written to."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "captionlab"
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except (OSError, RuntimeError):
        return None


def _compile(compiler: list[str], library: Path) -> None:
    for threads in THREADS:
        try:
            # In two steps: linked with -ffast-math, a library would round small numbers to 0 in the whole process.
            compiled = library.with_suffix(".o")
            _run([*compiler, *FLAGS, *threads, "-c", str(SOURCE), "-o", str(compiled)])
            _run([*compiler, *threads, "-shared", str(compiled), "-o", str(library)])
            return
        except subprocess.CalledProcessError:
            if threads == THREADS[-1]:
                raise


def _run(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode(errors="replace").strip().splitlines()
        return f"{error.cmd[0]}: {said[0] if said else error.returncode}"
    return str(error)
