"""The processes that work together: one, or as many as torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from src.errors import UserError, end_at_once
from src.parent import PARENT, leave_with_parent

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for the others in a step: longer than any step, shorter than anybody's patience."""
PATIENCE = timedelta(days=7)
"""How long it waits at a barrier or for what others say, who may have metrics to work out or a checkpoint to fetch. One
that died is noticed at once by torchrun, which ends all."""


@dataclass(frozen=True)
class Group:
    """This process among its equals.

    Attributes:
        rank: this process' number, 0 is the one that writes.
        size: how many there are, on all machines.
        device: where this process computes.
        patient: the same processes, for barriers and for whatever is more than numbers: a state of gigabytes would not
            fit into a GPU's memory beside the model it is of.
    """

    rank: int
    size: int
    device: torch.device
    patient: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until every process has come here, however long that takes."""
        if self.size > 1:
            dist.barrier(self.patient)

    def sum(self, *values: float) -> list[float]:
        """Each value added up over all processes, in double precision."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def gather(self, value: T) -> list[T]:
        """Every process' value, in the order of the ranks, on every process."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, group=self.patient)
        return values  # type: ignore[return-value]

    def from_main(self, value: T) -> T:
        """Rank 0's value on every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.patient)
        return box[0]


@contextmanager
def processes() -> Iterator[Group]:
    """Join the processes that torchrun started (nccl with GPUs, gloo without); alone where it did not."""
    if PARENT in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:
        leave_with_parent()
    device = _device()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group(0, 1, device)
        return
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        timeout=TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    try:
        patient = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(patient, dist.ProcessGroup)  # every process is a member
        yield Group(dist.get_rank(), size, device, patient)
    except Exception as error:
        if device.type == "cuda":
            # NCCL takes leave together: who failed alone would wait for the others, in silence, and they for him.
            end_at_once(error)
        raise
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= gpus:
        raise UserError(
            f"process {local + 1} of this machine has no GPU of its own, there are {gpus}: start one process per GPU "
            "(train.processes=0), or hide them (CUDA_VISIBLE_DEVICES=) to compute on the processor"
        )
    device = torch.device("cuda", local)
    torch.cuda.set_device(device)
    return device
