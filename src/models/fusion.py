"""How small operations between matrix products are run: one after the other, or fused into kernels of their own.

Fused kernels are written by TorchInductor (Ansel et al. 2024) and need a compiler: a C++ one for CPUs, Triton for GPUs.
What is fused is a function of this project as it stands; both ways compute the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from src.errors import UserError
from src.models import native

VARIANTS = 128
"""Of a function, more than there can be."""

F = TypeVar("F", bound=Callable[..., Any])
Fuse = Callable[[F], F]
"""Gives a function that computes what the given one does."""


def as_written(function: F) -> F:
    """One operation after the other."""
    return function


@functools.cache
def fused(function: F) -> F:
    """All operations between two matrix products as one kernel, for every size of its tensors."""
    # Kernels are made for each cell, type, layout and way to be of size 1. Beyond a limit of eight, operations would
    # silently be run one after the other.
    torch._dynamo.config.recompile_limit = VARIANTS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return cast(F, torch.compile(function, dynamic=True))


def fusing(wanted: bool, device: torch.device) -> Fuse[Any]:
    """`fused`, if that is wanted and works here; `as_written` if it is not wanted, or on a processor for which there is
    something quicker (`onepass.py`).

    Raises:
        UserError: there is no compiler that works.
    """
    if not wanted or native.takes(device):
        return as_written
    try:
        torch.compile(_doubled)(torch.ones(3, device=device))
    except Exception as error:  # each compiler and each way to be without one has an exception of its own
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"train.compile is true, but no kernel can be compiled for {device.type} ({reason}): install a C++ "
            "compiler (g++ or clang++), or do without (-S train.compile=false)"
        ) from error
    return fused


def _doubled(values: torch.Tensor) -> torch.Tensor:
    return values * 2
