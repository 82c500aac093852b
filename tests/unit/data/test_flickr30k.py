import json

import pytest

from src.data import flickr30k
from src.data.images import ImageBytes
from src.data.reading import DataError

KARPATHY = json.dumps(
    {
        "dataset": "flickr30k",
        "images": [
            {"filename": "1.jpg", "split": "train", "sentences": [{"raw": "Two men ."}, {"raw": "Men talk ."}]},
            {"filename": "2.jpg", "split": "val", "sentences": [{"raw": "A child ."}]},
            {"filename": "3.jpg", "split": "test", "sentences": [{"raw": "A dog ."}]},
        ],
    }
)
TOKENS = "1.jpg#0\tTwo men .\n1.jpg#1\tMen talk .\n2.jpg#0\tA child .\n3.jpg#0\tA dog .\n"


@pytest.fixture
def pictures(photograph):
    return {f"flickr30k-images/{number}.jpg": photograph(colour=(50 * number, 0, 0)) for number in (1, 2, 3)}


def splits(reading):
    return [candidate.splits for candidate in reading.candidates]


@pytest.fixture(params=["zip", "tar", "folder"])
def images_in(request, tmp_path, zipped, tarred, laid_out, pictures):
    """A root whose Flickr30k images lie in each of the three ways."""
    if request.param == "zip":
        zipped(tmp_path / "flickr30k/images.zip", pictures)
    elif request.param == "tar":
        tarred(tmp_path / "flickr30k/flickr30k-images.tar", pictures)
    else:
        laid_out(tmp_path / "flickr30k", pictures)
    return tmp_path


def test_karpathys_file_gives_captions_and_splits(images_in, pictures):
    (images_in / "flickr30k/dataset_flickr30k.json").write_text(KARPATHY)
    reading = flickr30k.read(images_in)
    assert splits(reading) == [("train",), ("val",), ("test",)]
    assert reading.candidates[0].captions == ("Two men .", "Men talk .")
    assert ImageBytes(images_in)(reading.candidates[2].location) == pictures["flickr30k-images/3.jpg"]


def test_karpathys_file_is_found_within_its_archive(images_in, zipped):
    zipped(
        images_in / "flickr30k/caption_datasets.zip", {"dataset_coco.json": "{}", "dataset_flickr30k.json": KARPATHY}
    )
    assert splits(flickr30k.read(images_in)) == [("train",), ("val",), ("test",)]


def test_the_authors_captions_take_karpathys_splits(images_in):
    (images_in / "flickr30k/dataset_flickr30k.json").write_text(KARPATHY)
    (images_in / "flickr30k/results_20130124.token").write_text(TOKENS.replace("A dog", "A wet dog"))
    reading = flickr30k.read(images_in)
    assert reading.candidates[2].captions == ("A wet dog .",)
    assert splits(reading) == [("train",), ("val",), ("test",)]


def test_without_karpathys_file_images_are_divided_and_it_is_said(tmp_path, laid_out, photograph):
    pictures = {f"{number}.jpg": photograph() for number in range(64)}
    tokens = "".join(f"{name}#0\tA dog .\n" for name in pictures)
    laid_out(tmp_path / "flickr30k", {**pictures, "results_20130124.token": tokens})
    reading = flickr30k.read(tmp_path)
    found = [split for candidate in reading.candidates for split in candidate.splits]
    assert (found.count("train"), found.count("val"), found.count("test")) == (60, 2, 2)
    assert any("dataset_flickr30k.json" in note for note in reading.notes)


def test_the_table_with_bars_is_read_with_the_row_that_lacks_one(images_in):
    (images_in / "flickr30k/results.csv").write_text(
        "image_name| comment_number| comment\n"
        "1.jpg| 0| Two men | one with a hat .\n"
        "2.jpg| 4   A dog runs across the grass .\n"
        "3.jpg| 0| A dog .\n"
        "a line of rubbish\n"
    )
    reading = flickr30k.read(images_in)
    assert [candidate.captions for candidate in reading.candidates] == [
        ("Two men | one with a hat .",),
        ("A dog runs across the grass .",),
        ("A dog .",),
    ]
    assert reading.unreadable_lines == ("results.csv:5: a line of rubbish",)


def test_images_in_a_compressed_tar_say_how_to_unpack_it(tmp_path, tarred, pictures):
    tarred(tmp_path / "flickr30k/flickr30k-images.tar.gz", pictures, mode="w:gz")
    (tmp_path / "flickr30k/dataset_flickr30k.json").write_text(KARPATHY)
    with pytest.raises(DataError, match=r"gunzip .*flickr30k-images\.tar\.gz"):
        flickr30k.read(tmp_path)


def test_missing_captions_name_the_three_forms(images_in):
    with pytest.raises(DataError, match=r"dataset_flickr30k\.json, results_20130124\.token or results\.csv"):
        flickr30k.read(images_in)


def test_a_damaged_split_file_is_named(images_in):
    (images_in / "flickr30k/dataset_flickr30k.json").write_text('{"images": [{"filename": "1.jpg"}]}')
    with pytest.raises(DataError, match=r"dataset_flickr30k\.json lacks 'split'"):
        flickr30k.read(images_in)
