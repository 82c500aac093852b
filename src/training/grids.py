"""Where training reads cached grids from: the memory-mapped file, or the GPU's own memory when they fit there."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from src.training.batches import Reader

SHARE = 0.5
"""Of the GPU's free memory that grids may take; the rest is for the model and its activations."""
AT_ONCE = 512
"""Rows copied to the GPU at a time."""


class GridReader:
    """Reads grids by row from the memory-mapped cache."""

    def __init__(self, grids: Float16[np.ndarray, "row region feature"]) -> None:
        self.grids = grids

    def __call__(self, rows: Int[np.ndarray, " image"]) -> Float[Tensor, "image region feature"]:
        return torch.from_numpy(self.grids[rows])


class ResidentGrids:
    """All grids in the device's memory, copied there once: a batch then costs no transfer."""

    def __init__(self, grids: Float16[np.ndarray, "row region feature"], device: torch.device) -> None:
        self.grids = torch.empty(grids.shape, dtype=torch.float16, device=device)
        for start in range(0, len(grids), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            self.grids[rows] = torch.from_numpy(np.array(grids[rows]))  # a copy: the file's pages cannot be written to

    def __call__(self, rows: Int[np.ndarray, " image"]) -> Float[Tensor, "image region feature"]:
        return self.grids[torch.from_numpy(rows).to(self.grids.device)]


def grid_reader(grids: Float16[np.ndarray, "row region feature"], device: torch.device) -> tuple[Reader, str]:
    """The fastest reader that the device's memory allows, and in words which one that is."""
    size = f"{grids.nbytes / 2**30:.2f} GiB of grids"
    if device.type != "cuda":
        return GridReader(grids), f"{size} are read from the memory-mapped file"
    free, _ = torch.cuda.mem_get_info(device)
    if grids.nbytes > SHARE * free:
        return GridReader(grids), f"{size} do not fit into half of the GPU's {free / 2**30:.2f} GiB: read from the file"
    return ResidentGrids(grids, device), f"{size} lie in the GPU's memory"
