import json

import pytest

from src.data import coco
from src.data.images import ImageBytes
from src.data.reading import DataError

NAMES = {
    "2014": {"train": "COCO_train2014_{:012d}.jpg", "val": "COCO_val2014_{:012d}.jpg"},
    "2017": {"train": "{:012d}.jpg", "val": "{:012d}.jpg"},
}
NUMBERS = {"train": (1, 2), "val": (11, 12, 13, 14)}
KARPATHY_SPLITS = {1: "train", 2: "train", 11: "restval", 12: "restval", 13: "val", 14: "test"}


def filename(year, number):
    return NAMES[year]["train" if number < 10 else "val"].format(number)


def annotations(year, part, more=()):
    return json.dumps(
        {
            "images": [{"id": number, "file_name": filename(year, number)} for number in NUMBERS[part]],
            "annotations": [
                *({"id": number, "image_id": number, "caption": f"Number {number}."} for number in NUMBERS[part]),
                *more,
            ],
        }
    )


def karpathy():
    return json.dumps(
        {
            "images": [
                {
                    "filename": filename("2014", number),
                    "filepath": "val2014",
                    "cocoid": number,
                    "split": split,
                    "sentences": [{"raw": f"Number {number}, says Karpathy."}],
                }
                for number, split in KARPATHY_SPLITS.items()
            ]
        }
    )


@pytest.fixture
def tree(tmp_path, zipped, laid_out, photograph):
    """COCO's layout: images and annotations each in zips or folders."""

    def lay(year, images="zip", texts="zip", parts=("train", "val"), more=()):
        for part in parts:
            pictures = {f"{part}{year}/{filename(year, number)}": photograph() for number in NUMBERS[part]}
            if images == "zip":
                zipped(tmp_path / f"coco/{part}{year}.zip", pictures)
            else:
                laid_out(tmp_path / "coco", pictures)
        files = {f"annotations/captions_{part}{year}.json": annotations(year, part, more) for part in parts}
        if texts == "zip":
            zipped(tmp_path / f"coco/annotations_trainval{year}.zip", files, deflated=True)
        elif texts == "folder":
            laid_out(tmp_path / "coco", files)
        return tmp_path

    return lay


def splits(reading):
    return {candidate.filename: candidate.splits for candidate in reading.candidates}


@pytest.mark.parametrize("year", ["2014", "2017"])
@pytest.mark.parametrize("images", ["zip", "folder"])
@pytest.mark.parametrize("texts", ["zip", "folder"])
def test_every_layout_gives_its_images_and_captions(tree, year, images, texts):
    root = tree(year, images, texts)
    reading = coco.read(root)
    assert [candidate.filename for candidate in reading.candidates] == sorted(
        filename(year, number) for numbers in NUMBERS.values() for number in numbers
    )
    assert reading.candidates[0].captions == ("Number 1.",)
    assert ImageBytes(root)(reading.candidates[0].location).startswith(b"\xff\xd8")


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_without_karpathys_file_the_validation_set_is_halved_and_it_is_said(tree, year):
    reading = coco.read(tree(year))
    found = [split for candidate in reading.candidates for split in candidate.splits]
    assert (found.count("train"), found.count("val"), found.count("test")) == (2, 2, 2)
    assert all(splits(reading)[filename(year, number)] == ("train",) for number in NUMBERS["train"])
    assert any("dataset_coco.json" in note for note in reading.notes)


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_karpathys_split_holds_for_both_editions_and_restval_is_training(tree, year):
    root = tree(year)
    (root / "coco/dataset_coco.json").write_text(karpathy())
    wanted = {1: "train", 2: "train", 11: "train", 12: "train", 13: "val", 14: "test"}
    assert splits(coco.read(root)) == {filename(year, number): (split,) for number, split in wanted.items()}


def test_karpathys_file_alone_gives_captions_too(tree):
    root = tree("2014", texts="none")
    (root / "coco/dataset_coco.json").write_text(karpathy())
    assert coco.read(root).candidates[0].captions == ("Number 1, says Karpathy.",)


def test_of_two_annotated_editions_the_one_with_images_is_read(tree, laid_out):
    root = tree("2017")
    laid_out(root / "coco", {f"captions_{part}2014.json": annotations("2014", part) for part in NUMBERS})
    assert "edition of 2017" in coco.read(root).notes


def test_test_images_which_have_no_captions_are_left_alone(tree, zipped, photograph):
    root = tree("2014")
    zipped(root / "coco/test2014.zip", {"test2014/COCO_test2014_000000000099.jpg": photograph()})
    assert len(coco.read(root).candidates) == 6


def test_captions_of_an_archive_that_is_not_there_are_kept_apart(tree):
    root = tree("2014")
    (root / "coco/train2014.zip").unlink()
    assert coco.read(root).captions_without_image == {
        filename("2014", 1): ("Number 1.",),
        filename("2014", 2): ("Number 2.",),
    }


def test_a_caption_of_an_image_nowhere_listed_is_named(tree):
    reading = coco.read(tree("2014", parts=("val",), more=[{"image_id": 77, "caption": "Lost."}]))
    assert reading.unreadable_lines == ("captions_val2014.json: image 77 is not listed: Lost.",)


def test_an_image_listed_for_training_and_validation_is_in_two_splits(tree, laid_out):
    root = tree("2014", texts="folder")
    both = json.loads(annotations("2014", "val"))
    both["images"].append({"id": 1, "file_name": filename("2014", 1)})
    (root / "coco/annotations/captions_val2014.json").write_text(json.dumps(both))
    assert splits(coco.read(root))[filename("2014", 1)] == ("train", "val")


@pytest.mark.parametrize("captions", ["official", "Karpathy's"])
def test_images_of_another_edition_than_the_captions_are_said_to_be(tree, laid_out, captions):
    root = tree("2017", texts="none")
    texts = {f"captions_{part}2014.json": annotations("2014", part) for part in NUMBERS}
    laid_out(root / "coco", texts if captions == "official" else {"dataset_coco.json": karpathy()})
    with pytest.raises(DataError, match=r"coco holds images of 2017, but captions of 2014: .*trainval2017\.zip"):
        coco.read(root)


def test_missing_captions_name_the_files_looked_for(tree):
    with pytest.raises(DataError, match=r"captions_train2014\.json"):
        coco.read(tree("2014", texts="none"))


def test_annotations_that_are_cut_off_are_named(tree):
    root = tree("2014", texts="folder")
    path = root / "coco/annotations/captions_train2014.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(DataError, match=r"captions_train2014\.json is not JSON"):
        coco.read(root)
