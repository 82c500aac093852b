"""What a run came from: the code, the DVC experiment and the machine, without naming the host or the user."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psutil
import torch

CODE = ("src", "stages")
"""Folders whose uncommitted changes make a run irreproducible (parameters are recorded, reports are results)."""


def tags() -> dict[str, str]:
    """All of it, as names and values for a run."""
    return code() | experiment() | machine()


def code(folder: Path = Path()) -> dict[str, str]:
    """The commit, and whether code differs from it; nothing outside a Git working copy."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git(folder, "status", "--porcelain", "--", *CODE)
    return {"mlflow.source.git.commit": commit, "git.uncommitted_code": str(bool(changes)).lower()}


def experiment() -> dict[str, str]:
    """What DVC tells its stages about the experiment they belong to."""
    names = {"DVC_EXP_NAME": "dvc.experiment", "DVC_EXP_BASELINE_REV": "dvc.baseline", "DVC_STAGE": "dvc.stage"}
    return {tag: os.environ[name] for name, tag in names.items() if os.environ.get(name)}


def machine() -> dict[str, str]:
    """Processor, memory, GPUs and the versions that decide numbers."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": f"{_processor()}, {os.cpu_count()} threads, {memory:.0f} GiB",
        "gpu": _described(_gpus()),
        "threads": str(torch.get_num_threads()),
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: a machine without an NVIDIA GPU
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _described(names: Sequence[str]) -> str:
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "none"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
