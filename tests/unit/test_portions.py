"""What does not fit into the GPU's memory is computed in parts, and everything else stays as it was."""

from __future__ import annotations

import pytest
import torch

from src.errors import UserError
from src.portions import Portions


class Memory:
    """A GPU that holds so many images."""

    def __init__(self, room: int) -> None:
        self.room, self.given = room, list[int]()

    def __call__(self, some: slice) -> list[int]:
        self.given.append(some.stop - some.start)
        if self.given[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(range(some.start, some.stop))


@pytest.mark.parametrize("images", [0, 1, 7, 8, 9, 20])
@pytest.mark.parametrize("room", [1, 3, 8, 100])
def test_every_image_is_computed_once_and_in_order(images, room):
    found = [image for part in Portions(8, "").of(images, Memory(room)) for image in part]
    assert found == list(range(images))


def test_what_fits_is_remembered_and_told_once(capsys):
    portions, memory = Portions(8, ""), Memory(2)
    for _ in range(2):
        list(portions.of(8, memory))
    assert memory.given == [8, 4, *[2] * 8]
    assert capsys.readouterr().out.splitlines() == [
        "GPU memory ran out: 4 images at once instead of 8",
        "GPU memory ran out: 2 images at once instead of 4",
    ]


def test_one_image_too_much_is_an_error_with_a_way_out():
    with pytest.raises(UserError, match="one image is too much for the GPU's memory: buy another"):
        list(Portions(8, "buy another").of(3, Memory(0)))


def test_what_goes_wrong_with_a_result_is_not_tried_again():
    portions = Portions(8, "").of(3, Memory(100))
    next(portions)
    with pytest.raises(torch.OutOfMemoryError):
        portions.throw(torch.OutOfMemoryError())  # type: ignore[attr-defined]
