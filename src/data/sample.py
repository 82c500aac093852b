"""The embedded dataset: scenes that the project draws itself, described five times each, with the box of every object.

    python -m src.data.sample                  data/sample/sample.zip, as data.dvc pins it
    python -m src.data.sample --seed 1 --count 5000 --out data/more

The archive holds `images/scene_0001.jpg` and so on, and `annotations.json` (splits, captions, objects). The same seed
and count give the same bytes; the archive's members carry no time and are stored as they are.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from src.data.distribution import Distribution
from src.data.manifest import Box, Split
from src.data.reading import DataError, Reading, assemble
from src.data.scenes.actor import frames
from src.data.scenes.captions import describe
from src.data.scenes.composition import Scene, compose
from src.data.scenes.kinds import KINDS
from src.data.scenes.picture import paint
from src.errors import reported
from src.files import write_atomically

ARCHIVE, ANNOTATIONS = "sample.zip", "annotations.json"
IMAGES = 1200
SHARES: dict[Split, float] = {"train": 0.75, "val": 0.125, "test": 0.125}
JPEG_QUALITY = 78


def read(root: Path) -> Reading:
    """The sample as `dvc pull` restores it.

    Raises:
        DataError: the archive is missing or damaged, or holds other annotations than this reader knows.
    """
    files = Distribution(root, "sample")
    images = files.images()
    try:
        entries = {entry["filename"]: entry for entry in files.json(ANNOTATIONS)["images"]}
        reading = assemble(
            "sample",
            images.found,
            {name: entry["captions"] for name, entry in entries.items()},
            {name: (entry["split"],) for name, entry in entries.items()},
            duplicate_names=images.duplicate_names,
            notes=images.notes,
        )
        boxes = {name: tuple(_box(item) for item in entry["objects"]) for name, entry in entries.items()}
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{root / 'sample'}: {ANNOTATIONS} is not the sample's ({error!r}): run `python -m src.data.sample`"
        ) from None
    return replace(
        reading,
        candidates=tuple(replace(image, boxes=boxes.get(image.filename, ())) for image in reading.candidates),
    )


def scene(seed: int, number: int) -> tuple[Scene, tuple[str, ...]]:
    """Scene `number` of a seed's sample, and its captions; no scene depends on another one."""
    rng = np.random.default_rng([seed, number])
    composed = compose(rng)
    return composed, describe(composed, rng)


def objects(composed: Scene) -> list[Box]:
    """Every object that captions may name, from back to front, with the rectangle it would fill if nothing hid it."""
    found = []
    for actor in composed.actors:
        for part, frame in frames(actor).items():
            left, top, right, bottom = (round(edge, 4) for edge in frame)
            found.append(Box(part, left, top, right, bottom, _words(part)))
    return found


def splits(seed: int, count: int) -> list[Split]:
    """A split for every scene, in exact shares, by lot."""
    lots: list[Split] = [split for split, share in SHARES.items() for _ in range(round(share * count))]
    lots = (lots + ["train"] * count)[:count]
    order = np.random.default_rng([seed, count, 0]).permutation(count)
    return [lots[place] for place in order]


def build(folder: Path, seed: int, count: int) -> Path:
    """Draw the sample into `folder`/sample.zip, whole or not at all."""
    path = folder / ARCHIVE
    annotations = []
    with write_atomically(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for number, split in enumerate(tqdm(splits(seed, count), desc="drawing", unit="scene"), start=1):
            composed, captions = scene(seed, number)
            filename = f"scene_{number:04d}.jpg"
            jpeg = BytesIO()
            paint(composed).save(jpeg, "JPEG", quality=JPEG_QUALITY, optimize=True)
            _add(archive, f"images/{filename}", jpeg.getvalue())
            found = [
                {"name": box.name, "box": [box.left, box.top, box.right, box.bottom], "words": list(box.words)}
                for box in objects(composed)
            ]
            annotations.append({"filename": filename, "split": split, "captions": list(captions), "objects": found})
        lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in annotations)
        _add(archive, ANNOTATIONS, f'{{"seed": {seed}, "images": [\n{lines}\n]}}\n'.encode())
    return path


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.create_system, member.external_attr = 3, 0o644 << 16
    archive.writestr(member, data)


def _words(kind: str) -> tuple[str, ...]:
    """'sheep' -> ('sheep',); 'balloon' -> ('balloon', 'balloons'): the nouns without what stands before them."""
    return tuple(dict.fromkeys(noun.split()[-1] for noun in KINDS[kind].nouns + KINDS[kind].plurals))


def _box(item: dict[str, Any]) -> Box:
    left, top, right, bottom = item["box"]
    return Box(item["name"], left, top, right, bottom, tuple(item["words"]))


@reported()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m src.data.sample", description="Draw the embedded dataset.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=IMAGES, help="number of scenes (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("data/sample"), help="folder (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.count < 8:
        parser.error(f"--count {arguments.count} leaves a split empty: draw 8 scenes or more")
    if arguments.seed < 0:
        parser.error(f"--seed {arguments.seed} is negative")
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {arguments.out} cannot be made ({error.strerror}): name another folder")
    path = build(arguments.out, arguments.seed, arguments.count)
    print(f"{path}: {arguments.count} scenes, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
