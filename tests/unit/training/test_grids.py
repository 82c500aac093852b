import warnings

import numpy as np
import pytest
import tiny
import torch

from src.training import grids as reading
from src.training.grids import GridReader, ResidentGrids, grid_reader

ROWS = np.array([4, 0, 4, 2])


def test_grids_in_the_devices_memory_are_those_of_the_file(monkeypatch):
    monkeypatch.setattr(reading, "AT_ONCE", 2)
    grids = tiny.grids(5)
    resident = ResidentGrids(grids, torch.device("cpu"))
    assert torch.equal(resident(ROWS), GridReader(grids)(ROWS))


@pytest.fixture
def every_warning():
    """PyTorch warns of most things once a process."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def test_a_file_that_cannot_be_written_to_is_read_without_a_warning(every_warning):
    grids = tiny.grids(5)
    grids.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(ResidentGrids(grids, torch.device("cpu"))(ROWS), GridReader(grids)(ROWS))


def test_they_stay_in_the_file_where_they_do_not_fit(monkeypatch):
    grids = tiny.grids(5)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (grids.nbytes, grids.nbytes))
    reader, said = grid_reader(grids, torch.device("cuda"))
    assert isinstance(reader, GridReader)
    assert "do not fit" in said


def test_without_a_gpu_they_stay_in_the_file():
    reader, said = grid_reader(tiny.grids(5), torch.device("cpu"))
    assert isinstance(reader, GridReader)
    assert "memory-mapped" in said
