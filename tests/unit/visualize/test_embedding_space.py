"""From a manifest and its grids to maps and numbers, end to end."""

import numpy as np
import pytest
import tiny
from PIL import Image

from src.config import Settings, Visualize
from src.data.manifest import Manifest
from src.encoders.cache import Embeddings
from src.visualize import projections
from src.visualize.space import space, space_figures

KINDS = (("a", "dog", "runs", "on", "the", "grass"), ("a", "red", "boat", "on", "the", "water"))


@pytest.fixture(scope="module")
def world() -> tuple[Manifest, Embeddings]:
    """Dogs and boats, with grids as different as their captions."""
    manifest = Manifest.of(tiny.image(number, "test", (KINDS[number % 2],) * 2) for number in range(24))
    grids = tiny.grids(24) * 0.1
    grids[::2, :, 0] += 3
    grids[1::2, :, 1] += 3
    return manifest, Embeddings(grids.astype(np.float16), None, "", None)  # type: ignore[arg-type]


def test_images_that_look_alike_and_are_called_alike_are_neighbours_in_both_spaces(
    world: tuple[Manifest, Embeddings],
) -> None:
    found = space(Settings(), *world)
    assert found is not None and found.of == "All 24 images"
    assert found.figures["neighbour_overlap"] > 1.5 * found.figures["neighbour_overlap_by_chance"]
    assert found.figures["silhouette_images_by_images"] > 0


def test_maps_show_thumbnails_and_say_how_many_images_they_are_of(
    world: tuple[Manifest, Embeddings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "has_umap", lambda: False)
    found = space(Settings(visualize=Visualize(points=22)), *world)
    assert found is not None
    drawn = dict(space_figures(found, lambda image: Image.new("RGB", (30, 20)), "efficientnet_lite0", 0))
    assert drawn.keys() == {"map-images", "map-captions", "neighbours"}
    said = " ".join(text.get_text() for text in drawn["map-images"].texts)
    assert "22 of 24 images" in said and "efficientnet_lite0" in said
    assert drawn["map-images"].axes[0].artists


@pytest.mark.parametrize("points", [0, 10])
def test_too_few_points_make_no_map(world: tuple[Manifest, Embeddings], points: int) -> None:
    assert space(Settings(visualize=Visualize(points=points)), *world) is None
