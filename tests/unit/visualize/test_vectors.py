"""Images and captions become points by what is in them, not by what all have in common."""

import numpy as np
import pytest
import tiny

from src.visualize import projections
from src.visualize.projections import PCA, TSNE
from src.visualize.vectors import averaged, caption_vectors, chosen_rows, image_vectors


def test_test_images_come_before_others_and_all_when_there_is_room() -> None:
    manifest = tiny.manifest(train=10, val=4, test=6)
    assert chosen_rows(manifest, 100, seed=0) == list(range(20))
    eight = chosen_rows(manifest, 8, seed=0)
    assert set(manifest.rows("test")) < set(eight) and len(eight) == 8 and eight == sorted(eight)
    assert set(chosen_rows(manifest, 3, seed=0)) <= set(manifest.rows("test"))


def test_what_all_images_share_does_not_make_them_alike() -> None:
    grids = (10 + tiny.grids(8)).astype(np.float16)
    vectors = image_vectors(grids, range(8))
    likeness = vectors @ vectors.T
    assert np.allclose(np.diag(likeness), 1, atol=1e-5)
    assert likeness[~np.eye(8, dtype=bool)].mean() < 0.1


def test_captions_that_mean_alike_lie_nearer_than_others() -> None:
    dog, puppy, boat, again = caption_vectors(
        [
            "A dog runs on the grass.",
            "A puppy is running in a field.",
            "A boat on the lake.",
            "A dog runs on the grass.",
        ]
    )
    assert dog @ puppy > 0.5 > dog @ boat
    assert np.array_equal(dog, again)


def test_an_image_lies_amid_its_captions() -> None:
    vectors = np.eye(3, dtype=np.float32)
    first, second = averaged(vectors, [0, 0, 1])
    assert first @ vectors[0] == pytest.approx(first @ vectors[1]) and first @ vectors[0] > first @ vectors[2]
    assert second @ vectors[2] > second @ vectors[0]


def test_points_on_a_plane_fill_the_square_and_are_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "has_umap", lambda: False)
    vectors = np.random.default_rng(0).standard_normal((24, 8))
    planes = projections.projections(vectors, seed=1)
    assert planes.keys() == {PCA, TSNE}
    for plane in planes.values():
        assert plane.shape == (24, 2) and plane.min() == 0 and plane.max() == 1
    again = projections.projections(vectors, seed=1)
    assert all(np.array_equal(planes[name], again[name]) for name in planes)
