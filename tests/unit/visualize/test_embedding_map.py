"""On the map nothing covers anything, and each cluster is named where it lies."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from src.visualize.embedding_map import HEIGHT, THUMBNAIL, WIDE, label_places, map_figure, thumbnails
from src.visualize.projections import PCA, TSNE, UMAP
from src.visualize.style import CLUSTER_COLOURS

PLANE = np.random.default_rng(0).random((200, 2))
LABELS = (PLANE[:, 0] * 4).astype(int)
WORDS = [["boat", "water"], ["dog", "grass"], ["snow"], ["street", "people", "city"]]
TEXTS = [", ".join(words) for words in WORDS]


def meet(first, second) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def drawn(*names: str) -> Figure:
    shown = thumbnails(PLANE, label_places(PLANE, LABELS, TEXTS), seed=0)
    pictures = {point: Image.new("RGB", (30, 20), "red") for point in shown}
    planes = dict.fromkeys(names, PLANE)
    return map_figure(planes, LABELS, WORDS, pictures, "Images", "All 200 images.", [("24%", "of neighbours")])


def test_labels_cover_neither_one_another_nor_the_border() -> None:
    crowded = np.full((200, 2), 0.5)
    places = label_places(crowded, LABELS, TEXTS)
    assert not any(meet(*pair) for pair in combinations(places, 2))
    assert all(left >= 0 and right <= WIDE and bottom >= 0 and top <= HEIGHT for left, bottom, right, top in places)


def test_a_label_stands_among_its_points() -> None:
    middles = [(left + right) / 2 / WIDE for left, _, right, _ in label_places(PLANE, LABELS, TEXTS)]
    assert middles == sorted(middles)


def test_thumbnails_cover_neither_labels_nor_one_another() -> None:
    shown = drawn(PCA, TSNE).axes[0].artists
    boxes = [artist.get_window_extent().extents for artist in shown]
    assert len(boxes) > 10
    assert not any(meet(*pair) for pair in combinations(boxes, 2))
    labels = [text.get_window_extent().extents for text in drawn(PCA, TSNE).axes[0].texts]
    assert len(labels) == 4 and not any(meet(box, label) for box in boxes for label in labels)
    assert THUMBNAIL > 0.3


def test_a_point_has_its_clusters_colour_on_every_plane() -> None:
    figure = drawn(PCA, TSNE, UMAP)
    assert len(figure.axes) == 3
    for axes in figure.axes:
        shades = [to_hex(shade).upper() for shade in axes.collections[0].get_facecolors()]
        assert shades == [CLUSTER_COLOURS[cluster] for cluster in LABELS]


@pytest.mark.parametrize(("names", "said"), [((PCA, TSNE), True), ((PCA, TSNE, UMAP), False)])
def test_where_umap_is_absent_the_figure_says_how_to_have_it(names: tuple[str, ...], said: bool) -> None:
    assert any("umap-learn" in text.get_text() for text in drawn(*names).texts) == said


def test_three_findings_find_room_below_two_small_maps() -> None:
    long = ("24%", "of an image's 10 nearest by picture are also among its 10 nearest by caption; chance gives 1%")
    figure = map_figure(dict.fromkeys((PCA, TSNE, UMAP), PLANE), LABELS, WORDS, {}, "Images", "All.", [long] * 3)
    assert min(text.get_window_extent().y0 for text in figure.texts) > 0
    assert max(text.get_window_extent().x1 for text in figure.texts) <= figure.bbox.width
