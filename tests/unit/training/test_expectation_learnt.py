"""What training takes from grids and captions to know what may be expected of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.training import expected
from src.training.expected import evenly_chosen, mean_features


def test_features_are_the_mean_over_regions_of_the_rows_asked_for(monkeypatch):
    monkeypatch.setattr(expected, "AT_ONCE", 2)
    grids = np.random.default_rng(0).standard_normal((7, 4, 3)).astype(np.float16)
    found = mean_features(grids, [6, 0, 3, 2, 5])
    assert found.dtype == torch.float32
    assert found.numpy() == pytest.approx(grids[[6, 0, 3, 2, 5]].astype(np.float32).mean(axis=1), abs=1e-6)


def test_of_too_many_images_as_many_as_fit_are_chosen_evenly(monkeypatch):
    monkeypatch.setattr(expected, "MOST_IMAGES", 4)
    assert evenly_chosen([5, 6, 7]) == [5, 6, 7]
    assert evenly_chosen(list(range(10))) == [0, 2, 5, 7]
