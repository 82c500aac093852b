"""What must survive a crash: the state of an unfinished training run, outside every stage's outputs.

`mlruns/resume/<fingerprint>/` holds one safetensors file per state, its name the number of optimiser steps behind it.
A file is written whole or not at all, carries a digest of its own content, and the one before it is kept: a damaged
newest state costs the steps since the previous one, no more. A ticket lies beside them from the beginning: what the
MLflow run is found by as long as no state knows its id.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from src.errors import UserError
from src.files import disk_is_full, write_atomically
from src.unfinished import lock

KEEP = 2
TICKET_FILE = "ticket"


@dataclass(frozen=True)
class SavedState:
    """A moment of a run: named tensors, and everything else as JSON."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


class ResumeFolder:
    """The states of one run. Only one process at a time may hold it; a crash releases it.

    Raises:
        UserError: an identical run is at work in this folder.
    """

    def __init__(self, root: Path, fingerprint: str) -> None:
        self.folder = root / fingerprint
        self._lock = lock(self.folder)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"an identical run is at work (its states are in {self.folder}): wait for it, or change a parameter"
            ) from None
        self.warnings: list[str] = []
        for unfinished in self.folder.glob(".*.partial"):  # of a process that was killed while it saved
            unfinished.unlink()

    @property
    def ticket(self) -> str:
        """What the run can be called before it has an id; the same for all its attempts.

        Raises:
            UserError: the disk is full.
        """
        path = self.folder / TICKET_FILE
        if not path.exists():
            self._write(path, secrets.token_hex(16).encode(), "a new run", "nothing was begun")
        return path.read_text()

    def save(self, step: int, state: SavedState) -> None:
        """Write the state after optimiser step `step`, and let go of those before its predecessor.

        Raises:
            UserError: the disk is full; what was saved before is untouched.
        """
        facts = json.dumps(state.facts)
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
        data = save(tensors, {"facts": facts, "digest": _digest(tensors, facts)})
        left = "the state before it is whole" if self._paths() else "there is none before it"
        what = f"the state after step {step} ({len(data) / 2**20:.0f} MiB)"
        self._write(self._path(step), data, what, left)
        for old in self._paths()[:-KEEP]:
            old.unlink()

    def load(self) -> SavedState | None:
        """The newest state that is whole, None when there is none. Damaged ones are removed, with a warning each.

        Raises:
            UserError: one cannot be read, which says nothing against it: it stays.
        """
        paths = self._paths()
        while paths:
            path = paths.pop()
            try:
                return _read(path)
            except OSError as error:
                raise UserError(f"{path} cannot be read ({error}): mend that and give the same command again") from None
            except (SafetensorError, ValueError, KeyError, TypeError) as error:
                left = "the state before it is used" if paths else "there is none before it, the run begins anew"
                self.warnings.append(f"{path} is damaged ({error}) and was left out: {left}")
                path.unlink()
        return None

    def remove(self) -> None:
        """The run is finished: nothing is left to go on with."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        self._lock.release()

    def _write(self, path: Path, data: bytes, what: str, left: str) -> None:
        try:
            with write_atomically(path) as file:
                file.write(data)
        except OSError as error:
            if not disk_is_full(error):
                raise
            raise UserError(
                f"no space is left in {self.folder} for {what}: free some and give the same command again; {left}"
            ) from None

    def _path(self, step: int) -> Path:
        return self.folder / f"state-{step:09d}.safetensors"

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("state-*.safetensors"))


def _read(path: Path) -> SavedState:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    if _digest(tensors, metadata["facts"]) != metadata["digest"]:
        raise ValueError("its content does not match its digest")
    return SavedState(tensors, json.loads(metadata["facts"]))


def _digest(tensors: Mapping[str, Tensor], facts: str) -> str:
    total = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        total.update(f"{name}{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        total.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
