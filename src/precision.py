"""What a setting called `precision` means for matrix products: fp32, bf16, or fp16 (Micikevicius et al. 2018).

bf16 says what may be rounded, not what must be: a processor without instructions for it would emulate it some hundred
times slower than fp32, and computes in fp32. Whatever reports a run's speed or figures says so by `described`.
"""

from __future__ import annotations

import functools

import torch

from src.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""Names under which processors announce bf16: x86-64's two sets, and Arm's."""


def computed(precision: str, device: torch.device) -> torch.dtype:
    """The type in which matrix products are done on `device`."""
    if precision == "bf16" and device.type == "cpu" and not _processor_has_bf16():
        return torch.float32
    return DTYPES[precision]


def refuse_without_gpu(precision: str, device: torch.device, section: str) -> None:
    """fp16 is for GPUs: its gradients and sums are, and processors take some twenty times longer for it than for fp32.

    Args:
        section: of params.yaml, which the message names.

    Raises:
        UserError: fp16 without a GPU.
    """
    if precision == "fp16" and device.type != "cuda":
        raise UserError(f"{section}.precision is fp16, which needs a GPU: use bf16 or fp32 on this machine")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision for what is computed in the block; none where that comes to fp32."""
    dtype = computed(precision, device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def described(precision: str, device: torch.device) -> str:
    """In words what matrix products are done in, and why where it is not what was asked for."""
    if computed(precision, device) == DTYPES[precision]:
        return f"matrix products in {precision}"
    return f"matrix products in fp32, for this processor has no instructions for {precision}"


@functools.cache
def _processor_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in INSTRUCTIONS)
