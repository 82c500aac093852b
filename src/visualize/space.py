"""The embedding space: maps of pictures and of captions, and how far what is alike lies together, as numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from PIL import Image

from src.config import Settings
from src.data.manifest import ImageRecord, Manifest
from src.data.sentence import sentence
from src.encoders.cache import Embeddings
from src.visualize.clusters import clusters, typical_words
from src.visualize.embedding_map import label, label_places, map_figure, thumbnails
from src.visualize.nearness import nearest, nearness
from src.visualize.neighbours import ROWS, SHOWN, Neighbour, neighbours_figure
from src.visualize.projections import TSNE, projections
from src.visualize.vectors import averaged, caption_vectors, chosen_rows, image_vectors

FEWEST = 20
"""Images that a map wants: of fewer there are no neighbourhoods to speak of."""

log = logging.getLogger(__name__)
Picture = Callable[[ImageRecord], Image.Image]


@dataclass(frozen=True)
class Space:
    """Images as points, by their pictures and by their captions.

    Attributes:
        records: the images, one per point.
        of: what they are a part of: '1,000 of 8,091 images'.
        figures: as `nearness` gives them.
    """

    records: list[ImageRecord]
    of: str
    images: Float[np.ndarray, "image feature"]
    captions: Float[np.ndarray, "image other"]
    image_clusters: Int[np.ndarray, " image"]
    caption_clusters: Int[np.ndarray, " image"]
    figures: dict[str, float]


def space(settings: Settings, manifest: Manifest, embeddings: Embeddings) -> Space | None:
    """At most `visualize.points` images of the manifest, test images first; None where there are too few for a map."""
    rows = chosen_rows(manifest, settings.visualize.points, settings.seed)
    if len(rows) < FEWEST:
        log.info("no map is drawn: %d images are fewer than %d", len(rows), FEWEST)
        return None
    records = [manifest.images[row] for row in rows]
    images = image_vectors(embeddings.grids, rows)
    written = [(image, caption) for image, record in enumerate(records) for caption in record.captions]
    owners = [image for image, _ in written]
    sentences = caption_vectors([caption for _, caption in written])
    captions = averaged(sentences, owners)
    by_image, by_caption = clusters(images, settings.seed), clusters(captions, settings.seed)
    figures = nearness(images, captions, sentences, owners, by_image, by_caption)
    of = f"{len(rows):,} of {len(manifest):,} images" if len(rows) < len(manifest) else f"All {len(rows):,} images"
    return Space(records, of, images, captions, by_image, by_caption, figures)


def space_figures(found: Space, picture: Picture, encoder: str, seed: int) -> Iterator[tuple[str, Figure]]:
    """Both maps and the neighbours, each drawn when it is asked for."""
    words = [record.words for record in found.records]
    for name, vectors, labels, title, note in (
        ("images", found.images, found.image_clusters, "Images, as the encoder sees them",
         f"each is the mean of its grid by {encoder}"),
        ("captions", found.captions, found.caption_clusters, "Images, by what people say of them",
         "each is the mean of its captions' sentence embeddings (all-MiniLM-L6-v2)"),
    ):  # fmt: skip
        planes, typical = projections(vectors, seed), typical_words(words, labels)
        places = label_places(planes[TSNE], labels, [label(own) for own in typical])
        shown = {point: picture(found.records[point]) for point in thumbnails(planes[TSNE], places, seed)}
        note = f"{found.of}, test images first; {note}. Colours: k-means clusters and their typical words."
        yield f"map-{name}", map_figure(planes, labels, typical, shown, title, note, _findings(found.figures, name))
    yield "neighbours", _neighbours(found, picture, seed)


def _findings(figures: dict[str, float], name: str) -> list[tuple[str, str]]:
    other = "captions" if name == "images" else "images"
    called = {"images": "pictures", "captions": "captions"}
    findings = [
        (
            f"{figures[f'silhouette_{name}_by_{name}']:.2f}",
            f"silhouette of these clusters; {figures[f'silhouette_{other}_by_{name}']:.2f} among the {called[other]}. "
            "1: well apart, 0: one cloud",
        ),
        (f"{figures['neighbour_overlap']:.0%}", _overlap(figures)),
    ]
    if name == "captions" and "same_image_nearest" in figures:
        findings.append(
            (
                f"{figures['same_image_nearest']:.0%}",
                "of captions have one of the same image as their nearest; chance would give "
                f"{figures['same_image_nearest_by_chance']:.2%}",
            )
        )
    return findings


def _overlap(figures: dict[str, float]) -> str:
    return (
        f"of an image's {figures['neighbours']:.0f} nearest by picture are also among its {figures['neighbours']:.0f} "
        f"nearest by caption; chance would give {figures['neighbour_overlap_by_chance']:.0%}"
    )


def _neighbours(found: Space, picture: Picture, seed: int) -> Figure:
    """Images drawn by lot with their nearest ones."""
    many = round(found.figures["neighbours"])
    by_picture, by_caption = nearest(found.images, many), nearest(found.captions, many)

    def neighbour(image: int, others: set[int]) -> Neighbour:
        record = found.records[image]
        return Neighbour(picture(record), sentence(record.captions[0]), image in others)

    rows = []
    for image in sorted(np.random.default_rng(seed).permutation(len(found.records))[:ROWS].tolist()):
        seen, said = by_picture[image].tolist(), by_caption[image].tolist()
        rows.append(
            (
                neighbour(image, set()),
                [neighbour(other, set(said)) for other in seen[:SHOWN]],
                [neighbour(other, set(seen)) for other in said[:SHOWN]],
            )
        )
    share = f"{found.figures['neighbour_overlap']:.0%}"
    finding = f"Framed: among the {many} nearest both ways. {share} {_overlap(found.figures)}."
    return neighbours_figure(rows, finding)
