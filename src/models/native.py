"""What lies between a decoder's matrix products, on a processor: compiled from C when it is first needed.

PyTorch's operations pass over the same numbers once each; `decoder.c` does what lies between two products in one pass.
Without a C compiler nothing is lost but time: the same arithmetic is there in PyTorch's operations.

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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.files import settle

SOURCE = Path(__file__).with_name("decoder.c")
COMPILERS = ("cc", "gcc", "clang")
ARM = platform.machine() in ("arm64", "aarch64")
# Compilers that do not know a processor by its name take half of its registers' width for the safe choice.
PROCESSOR = ("-mcpu=native",) if ARM else ("-march=native", "-mprefer-vector-width=512")
FLAGS = ("-O3", *PROCESSOR, "-ffast-math", "-fPIC")
THREADS = (("-fopenmp",), ())
"""Apple's compiler knows no OpenMP."""
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}
"""Of the types that matrix products may have."""

_library: ctypes.CDLL | None = None
_failure: str | None = None


def serves(values: Float[Tensor, "*any"], products: torch.dtype) -> bool:
    """Whether a decoder runs here whose matrix products are of this type, and what lies between them as `values`."""
    fits = values.dtype == torch.float32 and products in NAMES and not torch.compiler.is_compiling()
    return fits and takes(values.device)


def takes(device: torch.device) -> bool:
    """Whether decoders run here on such a device; not those in double precision, which serve comparisons."""
    return device.type == "cpu" and ready()


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
    """In words how what lies between matrix products is computed, and why where that is slow."""
    if takes(device):
        return "the decoder in C"
    if device.type != "cpu":
        return "the decoder in PyTorch's operations"
    return f"the decoder in PyTorch's operations, several times slower, for no C compiler works ({_failure})"


def call(
    name: str, products: torch.dtype, given: Sequence[Tensor], written: Sequence[Tensor], *sizes: int | float
) -> None:
    """Call a function of `decoder.c` for matrix products of a type.

    Args:
        given: what it reads, in its order; up to two axes and then one.
        written: what it writes or adds to; along the last axis their numbers lie side by side.
    """
    assert _library is not None
    assert all(map(_side_by_side, written)), f"{name} would write into a copy"
    held = [*(x if _side_by_side(x) else x.contiguous() for x in given), *written]
    rows = (ctypes.c_int64 * (3 * len(held)))()
    for place, tensor in zip(range(0, len(rows), 3), held, strict=True):
        rows[place] = tensor.data_ptr()
        rows[place + 1 : place + tensor.dim()] = list(tensor.stride()[:-1])
    numbers = (ctypes.c_float(x) if isinstance(x, float) else ctypes.c_int64(x) for x in sizes)
    getattr(_library, f"{name}_{NAMES[products]}")(rows, *numbers, torch.get_num_threads())


def _side_by_side(values: Tensor) -> bool:
    return values.shape[-1] <= 1 or values.stride(-1) == 1


def dropped(
    values: Float[Tensor, "*any"], random: UInt8[Tensor, "*any"], threshold: int, scale: float
) -> Float[Tensor, "*any"]:
    """Numbers times `scale` where a random byte is `threshold` or more, else 0."""
    found = torch.empty_like(values, memory_format=torch.contiguous_format)
    *given, kept = (x.contiguous().view(-1, values.shape[-1]) for x in (values, random, found))
    call("drop", values.dtype, given, [kept], *kept.shape, threshold, scale)
    return found


def turns(matrix: Tensor) -> bool:
    """Whether `turned` takes a matrix."""
    return matrix.dtype == torch.bfloat16 and takes(matrix.device)


def turned(matrix: Float[Tensor, "row column"], dtype: torch.dtype) -> Float[Tensor, "column row"]:
    """A matrix in bfloat16 transposed, in memory too, as bfloat16 or in single precision."""
    found = matrix.new_empty(matrix.shape[1], matrix.shape[0], dtype=dtype)
    name = "turn" if dtype == matrix.dtype else "turn_widen"
    call(name, matrix.dtype, [matrix], [found], *matrix.shape)
    return found


def _loaded() -> ctypes.CDLL:
    """The library, compiled if this machine's is not in the cache."""
    named = os.environ.get("CC")
    compiler = shlex.split(named) if named else [next(filter(shutil.which, COMPILERS), COMPILERS[0])]
    # What the compiler knows of itself and of the processor.
    macros = _run([*compiler, *FLAGS, "-dM", "-E", "-x", "c", os.devnull])
    name = f"decoder-{hashlib.sha256(repr(FLAGS).encode() + macros + SOURCE.read_bytes()).hexdigest()[:16]}.so"
    cache = _cache()
    if cache is not None:
        with suppress(OSError):  # it is not there, or no library
            return ctypes.CDLL(str(cache / name))
    with tempfile.TemporaryDirectory(prefix="captionlab-", dir=cache) as folder:
        library = Path(folder) / name
        _compile(compiler, library)
        settle(library.parent)
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
            _run([*compiler, *threads, "-shared", str(compiled), "-o", str(library), "-lm"])
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
