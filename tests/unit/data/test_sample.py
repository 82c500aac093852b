"""The embedded dataset, as it is built and read."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from src.data import sample
from src.data.images import ImageBytes
from src.data.reading import DataError
from src.data.sample import main

COUNT = 16


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    sample.build(root / "sample", seed=3, count=COUNT)
    return root


def test_the_same_seed_gives_the_same_bytes(root, tmp_path):
    again = sample.build(tmp_path, seed=3, count=COUNT)
    assert again.read_bytes() == (root / "sample" / "sample.zip").read_bytes()


def test_another_seed_gives_other_scenes(root, tmp_path):
    other = sample.build(tmp_path, seed=4, count=COUNT)
    assert other.read_bytes() != (root / "sample" / "sample.zip").read_bytes()


def test_every_image_is_read_with_its_split_captions_and_boxes(root):
    reading = sample.read(root)
    assert [image.filename for image in reading.candidates] == [f"scene_{n:04d}.jpg" for n in range(1, COUNT + 1)]
    for image in reading.candidates:
        assert len(image.splits) == 1
        assert len(image.captions) == 5
        assert image.boxes
        assert all(0 <= box.left < box.right <= 1 and 0 <= box.top < box.bottom <= 1 for box in image.boxes)
    assert not reading.captions_without_image and not reading.duplicate_names


def test_images_decode_straight_from_the_archive(root):
    read = ImageBytes(root)
    for image in sample.read(root).candidates:
        assert not image.location.deflated
        assert Image.open(io.BytesIO(read(image.location))).size == (224, 224)


def test_nouns_of_captions_are_words_of_a_box(root):
    for image in sample.read(root).candidates:
        words = {word for box in image.boxes for word in box.words}
        assert all(words & set(caption.lower().strip(".").replace(",", "").split()) for caption in image.captions)


@pytest.mark.parametrize(("count", "shares"), [(1200, (900, 150, 150)), (16, (12, 2, 2)), (8, (6, 1, 1))])
def test_scenes_are_dealt_to_the_splits_in_exact_shares(count, shares):
    dealt = Counter(sample.splits(0, count))
    assert (dealt["train"], dealt["val"], dealt["test"]) == shares


def test_a_missing_archive_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"run `python -m src\.data\.sample`"):
        sample.read(tmp_path)


def test_an_archive_with_foreign_annotations_is_refused(root, tmp_path):
    folder = tmp_path / "sample"
    folder.mkdir()
    with zipfile.ZipFile(folder / "sample.zip", "w") as archive:
        with zipfile.ZipFile(root / "sample" / "sample.zip") as source:
            archive.writestr("images/scene_0001.jpg", source.read("images/scene_0001.jpg"))
        archive.writestr("annotations.json", json.dumps({"images": [{"filename": "scene_0001.jpg"}]}))
    with pytest.raises(DataError, match=r"annotations\.json is not the sample's"):
        sample.read(tmp_path)


@pytest.mark.parametrize(
    ("given", "told"), [(("--seed", "-1"), "--seed -1 is negative"), (("--out", __file__), "--out")]
)
def test_what_cannot_be_drawn_is_refused_in_words(monkeypatch, capsys, given, told):
    monkeypatch.setattr("sys.argv", ["sample", *given])
    with pytest.raises(SystemExit):
        main()
    assert told in capsys.readouterr().err
