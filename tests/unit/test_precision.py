"""bf16 is what may be rounded to: a processor that would only emulate it computes in fp32, and says so."""

import pytest
import torch

from src import precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def processor(monkeypatch):
    """A processor with these instructions."""

    def having(*names: str) -> None:
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False, **dict.fromkeys(names, True)}
        )
        precision._processor_has_bf16.cache_clear()

    yield having
    precision._processor_has_bf16.cache_clear()


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_processor_with_bf16_computes_in_bf16(processor, instructions):
    processor(instructions)
    assert precision.computed("bf16", CPU) == torch.bfloat16
    assert precision.described("bf16", CPU) == "matrix products in bf16"
    with precision.autocast(CPU, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_a_processor_without_bf16_computes_in_fp32_and_says_so(processor):
    processor()
    assert precision.computed("bf16", CPU) == torch.float32
    assert "in fp32, for this processor has no instructions for bf16" in precision.described("bf16", CPU)
    with precision.autocast(CPU, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_what_a_gpu_computes_in_does_not_depend_on_the_processor(processor):
    processor()
    assert [precision.computed(kind, GPU) for kind in ("fp32", "bf16", "fp16")] == [
        torch.float32, torch.bfloat16, torch.float16,
    ]  # fmt: skip


def test_fp32_is_never_rounded(processor):
    processor("avx512_bf16")
    with precision.autocast(CPU, "fp32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
