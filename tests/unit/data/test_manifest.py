import os
from dataclasses import replace

import pytest

from src.data.manifest import Box, ImageRecord, Location, Manifest

RECORD = ImageRecord(
    name="sample/scène.png",
    split="train",
    location=Location("sample/scenes.zip", 57, 1234, deflated=True),
    width=160,
    height=120,
    captions=("A “red” dog .", "Two cats ."),
    words=(("a", "red", "dog"), ("two", "cats")),
    boxes=(Box("dog", 0.1, 0.2, 0.5, 0.75, ("dog", "puppy")),),
)
PLAIN = replace(RECORD, name="coco/b/c.jpg", split="test", boxes=())


def test_a_saved_manifest_is_the_same_when_loaded(tmp_path):
    Manifest.of([RECORD, PLAIN]).save(tmp_path)
    assert Manifest.load(tmp_path) == Manifest.of([RECORD, PLAIN])


@pytest.mark.parametrize("change", [{"captions": ("Other .", "Two cats .")}, {"split": "val"}, {"width": 161}])
def test_the_digest_changes_with_any_image(change):
    assert Manifest.of([RECORD]).digest != Manifest.of([replace(RECORD, **change)]).digest


def test_the_digest_changes_with_the_order():
    assert Manifest.of([RECORD, PLAIN]).digest != Manifest.of([PLAIN, RECORD]).digest


def test_rows_are_positions_in_the_whole_manifest():
    manifest = Manifest.of([RECORD, PLAIN, RECORD])
    assert manifest.rows("train") == [0, 2]
    assert manifest.split("test") == [PLAIN]


def test_a_name_tells_dataset_and_file():
    assert (PLAIN.dataset, PLAIN.filename) == ("coco", "b/c.jpg")


def test_a_missing_manifest_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="dvc repro prepare"):
        Manifest.load(tmp_path)


def test_a_folder_whose_name_is_no_text_is_kept(tmp_path):
    odd = os.fsdecode(b"Im\xe1genes")
    image = ImageRecord("set/a.jpg", "train", Location(f"set/{odd}/a.jpg", 0, 1), 8, 8, ("A dog .",), (("a", "dog"),))
    made = Manifest.of([image])
    made.save(tmp_path)
    found = Manifest.load(tmp_path)
    assert (found.images, found.digest) == ((image,), made.digest)
