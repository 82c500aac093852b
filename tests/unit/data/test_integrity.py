import io

import pytest
from PIL import Image

from src.data.integrity import KINDS, inspect
from src.data.manifest import Location
from src.data.reading import Candidate, Reading, assemble


@pytest.fixture
def noise():
    buffer = io.BytesIO()
    Image.effect_noise((48, 32), 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def inspected(noise):
    """Inspect images given as name -> bytes; each has a caption and is a training image unless said otherwise."""

    def run(images, captions=None, splits=None, **more):
        images = {name: noise if data is None else data for name, data in images.items()}
        reading = assemble(
            "set",
            {name: Location(name, 0, len(data)) for name, data in images.items()},
            dict.fromkeys(images, ("A dog .",)) | (captions or {}),
            dict.fromkeys(images, ("train",)) | (splits or {}),
            **more,
        )
        return inspect(reading, lambda location: images[location.path])

    return run


def sound(inspection):
    return [image.candidate.filename for image in inspection.sound]


def faults(inspection):
    """Kinds found, with the names concerned."""
    return {kind: names for kind, names in inspection.found.items() if names}


def test_a_sound_dataset_has_no_faults(inspected):
    inspection = inspected({"a.jpg": None, "b.jpg": None})
    assert faults(inspection) == {}
    assert sound(inspection) == ["a.jpg", "b.jpg"]


def test_a_sound_image_comes_with_its_size_and_its_captions_as_words(inspected):
    (image,) = inspected({"a.jpg": None}, {"a.jpg": ("A  dog\nruns .",)}).sound
    assert (image.probe.width, image.probe.height) == (48, 32)
    assert [(found.caption, found.words) for found in image.captions] == [("A dog runs .", ("a", "dog", "runs"))]


def test_captions_without_image_are_counted_one_by_one(inspected):
    inspection = inspected({"a.jpg": None}, {"gone.jpg": ("One .", "Two .")})
    assert faults(inspection) == {"captions_without_image": ("gone.jpg", "gone.jpg")}
    assert inspection.report()["captions_without_image"]["examples"] == ["gone.jpg"]


def test_an_image_without_caption_is_skipped(inspected):
    inspection = inspected({"a.jpg": None, "b.jpg": None}, {"b.jpg": ()})
    assert faults(inspection) == {"images_without_caption": ("b.jpg",)}
    assert sound(inspection) == ["a.jpg"]


def test_an_image_in_no_split_is_skipped(inspected):
    inspection = inspected({"a.jpg": None, "b.jpg": None}, splits={"b.jpg": ()})
    assert faults(inspection) == {"images_in_no_split": ("b.jpg",)}
    assert sound(inspection) == ["a.jpg"]


def test_an_image_in_two_splits_is_skipped(inspected):
    inspection = inspected({"a.jpg": None, "b.jpg": None}, splits={"b.jpg": ("train", "test")})
    assert faults(inspection) == {"images_in_two_splits": ("b.jpg (train, test)",)}
    assert sound(inspection) == ["a.jpg"]


def test_a_split_entry_without_image_is_counted(inspected):
    assert faults(inspected({"a.jpg": None}, splits={"ghost.jpg": ("val",)})) == {
        "splits_without_image": ("ghost.jpg",)
    }


def test_damaged_images_are_told_apart_named_and_skipped(inspected, noise):
    inspection = inspected({"a.jpg": None, "cut.jpg": noise[:300], "page.jpg": b"<html>", "void.jpg": b""})
    assert faults(inspection) == {"truncated": ("cut.jpg",), "undecodable": ("page.jpg",), "zero-sized": ("void.jpg",)}
    assert sound(inspection) == ["a.jpg"]
    assert [message.partition(":")[0] for message in inspection.damaged] == ["cut.jpg", "page.jpg", "void.jpg"]


def test_an_image_that_cannot_be_opened_is_skipped(tmp_path):
    from src.data.images import ImageBytes

    reading = Reading("set", (Candidate("a.jpg", Location("a.jpg", 0, 9), ("A dog .",), ("train",)),))
    inspection = inspect(reading, ImageBytes(tmp_path))
    assert faults(inspection) == {"missing": ("a.jpg",)}
    assert sound(inspection) == []


def test_other_modes_than_rgb_are_counted_and_kept(inspected, photograph):
    inspection = inspected({"grey.jpg": photograph(mode="L"), "print.jpg": photograph(mode="CMYK")})
    assert faults(inspection) == {"not_rgb": ("grey.jpg (L)", "print.jpg (CMYK)")}
    assert sound(inspection) == ["grey.jpg", "print.jpg"]


def test_a_name_that_several_files_bear_is_reported(inspected):
    assert faults(inspected({"a.jpg": None}, duplicate_names=["a.jpg"])) == {"duplicate_names": ("a.jpg",)}


def test_names_that_differ_only_in_case_are_reported(inspected):
    inspection = inspected({"Beach.jpg": None, "beach.JPG": None, "dog.jpg": None})
    assert faults(inspection) == {"names_differing_in_case": ("Beach.jpg / beach.JPG",)}


def test_names_that_differ_only_in_extension_are_reported(inspected):
    inspection = inspected({"beach.jpg": None, "beach.jpeg": None})
    assert faults(inspection) == {"names_differing_in_extension": ("beach.jpeg / beach.jpg",)}


def test_a_name_with_a_copy_suffix_is_reported_even_without_image(inspected):
    inspection = inspected({"a.jpg": None, "b.jpg.1": None}, {"c.jpg.2": ("Lost .",)})
    assert inspection.found["names_with_copy_suffix"] == ("b.jpg.1", "c.jpg.2")


def test_an_empty_caption_is_dropped_and_its_image_kept(inspected):
    inspection = inspected({"a.jpg": None}, {"a.jpg": ("", "A dog .", " . ")})
    assert faults(inspection) == {"empty_captions": ("a.jpg", "a.jpg")}
    assert len(inspection.sound[0].captions) == 1


def test_an_image_with_nothing_but_empty_captions_is_skipped(inspected):
    inspection = inspected({"a.jpg": None}, {"a.jpg": ("",)})
    assert faults(inspection) == {"empty_captions": ("a.jpg",), "images_without_caption": ("a.jpg",)}
    assert sound(inspection) == []


def test_a_line_that_cannot_be_read_is_reported(inspected):
    assert faults(inspected({"a.jpg": None}, unreadable_lines=["x.txt:3: oops"])) == {
        "unreadable_lines": ("x.txt:3: oops",)
    }


def test_the_report_counts_all_and_shows_a_few(inspected):
    finding = inspected({f"{number}.jpg": b"" for number in range(9)}).report()["zero-sized"]
    assert (finding["count"], finding["fate"], len(finding["examples"])) == (9, "skipped", 5)


def test_every_kind_is_in_the_report_with_its_fate(inspected):
    report = inspected({"a.jpg": None}).report()
    assert list(report) == list(KINDS)
    assert {finding["fate"] for finding in report.values()} == {"skipped", "kept"}


def test_the_order_is_that_of_the_reading_however_many_threads(inspected):
    names = [f"{number:03}.jpg" for number in range(60)]
    assert sound(inspected(dict.fromkeys(names))) == names
