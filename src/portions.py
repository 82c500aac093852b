"""How many images are computed at once, where GPU memory has the last word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from tqdm import tqdm

from src.errors import UserError

T = TypeVar("T")


class Portions:
    """As many images at once as were asked for; half of them from when GPU memory has run out, and half again.

    Args:
        size: at once.
        remedy: what to do where even one image is too much, for the error.
    """

    def __init__(self, size: int, remedy: str) -> None:
        self.size, self.remedy = size, remedy

    def of(self, images: int, compute: Callable[[slice], T]) -> Iterator[T]:
        """What `compute` makes of each portion of so many images, in their order. What is tried again must not have
        left anything behind.

        Raises:
            UserError: one image is too much for the GPU's memory.
        """
        start = 0
        while start < images:
            portion = slice(start, min(start + self.size, images))
            count = portion.stop - start
            try:
                found = compute(portion)
            except torch.OutOfMemoryError as error:
                if count == 1:
                    raise UserError(f"one image is too much for the GPU's memory: {self.remedy}") from error
            else:
                yield found
                start = portion.stop
                continue
            # Not within `except`: the error keeps what filled the memory alive.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.size = (count + 1) // 2
            tqdm.write(f"GPU memory ran out: {self.size} images at once instead of {count}")
