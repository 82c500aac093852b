import pytest

from src.data import flickr8k
from src.data.images import ImageBytes
from src.data.reading import DataError

TOKENS = "a.jpg#0\tA dog runs .\na.jpg#1\tA brown dog .\nb.jpg#0\tA girl sits .\nc.jpg#0\tA red bus .\n"
SPLITS = {
    "Flickr_8k.trainImages.txt": "a.jpg\n",
    "Flickr_8k.devImages.txt": "b.jpg\n",
    "Flickr_8k.testImages.txt": "c.jpg\n",
}


@pytest.fixture
def pictures(photograph):
    return {name: photograph(colour=(10 * number, 0, 0)) for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg"))}


@pytest.fixture
def authors(tmp_path, zipped, pictures):
    """The distribution of the dataset's authors, with room for changes."""

    def lay(tokens=TOKENS, splits=SPLITS, more=None):
        images = {f"Flicker8k_Dataset/{name}": data for name, data in (pictures | (more or {})).items()}
        zipped(tmp_path / "flickr8k/Flickr8k_Dataset.zip", images)
        zipped(tmp_path / "flickr8k/Flickr8k_text.zip", {"Flickr8k.token.txt": tokens, **splits}, deflated=True)
        return tmp_path

    return lay


def by_name(reading):
    return {candidate.filename: candidate for candidate in reading.candidates}


def test_the_authors_archives_give_images_captions_and_splits(authors, pictures):
    root = authors()
    reading = flickr8k.read(root)
    found = by_name(reading)
    assert list(found) == ["a.jpg", "b.jpg", "c.jpg"]
    assert found["a.jpg"].captions == ("A dog runs .", "A brown dog .")
    assert [candidate.splits for candidate in reading.candidates] == [("train",), ("val",), ("test",)]
    assert ImageBytes(root)(found["b.jpg"].location) == pictures["b.jpg"]


def test_unpacked_folders_do_as_well(tmp_path, laid_out, pictures):
    laid_out(tmp_path / "flickr8k/Flicker8k_Dataset", pictures)
    laid_out(tmp_path / "flickr8k/Flickr8k_text", {"Flickr8k.token.txt": TOKENS, **SPLITS})
    reading = flickr8k.read(tmp_path)
    assert [candidate.splits for candidate in reading.candidates] == [("train",), ("val",), ("test",)]
    assert ImageBytes(tmp_path)(reading.candidates[0].location) == pictures["a.jpg"]


def test_an_archive_and_its_unpacked_copy_are_no_duplicates(authors, laid_out, pictures):
    root = authors()
    laid_out(root / "flickr8k/Flicker8k_Dataset", pictures)
    reading = flickr8k.read(root)
    assert reading.duplicate_names == ()
    assert all(candidate.location.path.endswith(".zip") for candidate in reading.candidates)
    assert any("3 loose images" in note for note in reading.notes)


def test_captions_of_an_image_that_does_not_exist_are_kept_apart(authors):
    reading = flickr8k.read(authors(TOKENS + "gone.jpg.1#0\tA lost dog .\ngone.jpg.1#1\tLost .\n"))
    assert reading.captions_without_image == {"gone.jpg.1": ("A lost dog .", "Lost .")}


def test_an_image_in_no_split_has_none(authors, photograph):
    reading = flickr8k.read(authors(TOKENS + "d.jpg#0\tA boat .\n", more={"d.jpg": photograph()}))
    assert by_name(reading)["d.jpg"].splits == ()


def test_an_image_in_two_splits_has_both(authors):
    reading = flickr8k.read(authors(splits=SPLITS | {"Flickr_8k.testImages.txt": "c.jpg\na.jpg\n"}))
    assert by_name(reading)["a.jpg"].splits == ("train", "test")


def test_a_split_entry_without_image_is_named(authors):
    reading = flickr8k.read(authors(splits=SPLITS | {"Flickr_8k.devImages.txt": "b.jpg\nghost.jpg\n"}))
    assert reading.splits_without_image == ("ghost.jpg",)


def test_a_line_that_names_no_image_is_kept_with_its_number(authors):
    reading = flickr8k.read(authors("A stray line\n" + TOKENS))
    assert reading.unreadable_lines == ("Flickr8k.token.txt:1: A stray line",)


def test_the_same_name_in_two_folders_of_the_archive_is_a_duplicate(authors, photograph):
    reading = flickr8k.read(authors(more={"copies/a.jpg": photograph()}))
    assert reading.duplicate_names == ("a.jpg",)


def test_the_single_folder_form_is_divided_and_says_so(tmp_path, laid_out, photograph):
    rows = "".join(f'{number}.jpg,"A dog, number {number} ."\n{number}.jpg,Plain caption .\n' for number in range(16))
    pictures = {f"Images/{number}.jpg": photograph() for number in range(16)}
    laid_out(tmp_path / "flickr8k", {"captions.txt": "image,caption\n" + rows, **pictures})

    reading = flickr8k.read(tmp_path)

    assert by_name(reading)["3.jpg"].captions == ("A dog, number 3 .", "Plain caption .")
    splits = [candidate.splits[0] for candidate in reading.candidates]
    assert (splits.count("train"), splits.count("val"), splits.count("test")) == (12, 2, 2)
    assert any("no split files" in note for note in reading.notes)
    assert flickr8k.read(tmp_path) == reading


def test_the_single_folder_form_takes_official_splits_where_they_are(tmp_path, laid_out, pictures):
    rows = "image,caption\na.jpg,A dog .\nb.jpg,A girl .\nc.jpg,A bus .\n"
    images = {f"Images/{name}": data for name, data in pictures.items()}
    laid_out(tmp_path / "flickr8k", {"captions.txt": rows, **images, **SPLITS})
    reading = flickr8k.read(tmp_path)
    assert [candidate.splits for candidate in reading.candidates] == [("train",), ("val",), ("test",)]
    assert reading.notes == ()


def test_a_missing_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"flickr8k is missing: run `python -m src\.data\.download flickr8k`"):
        flickr8k.read(tmp_path)


def test_missing_captions_name_the_files_looked_for(tmp_path, zipped, pictures):
    zipped(tmp_path / "flickr8k/Flickr8k_Dataset.zip", pictures)
    with pytest.raises(DataError, match=r"Flickr8k\.token\.txt or captions\.txt"):
        flickr8k.read(tmp_path)


def test_captions_that_are_no_text_are_an_error_that_names_the_file(authors):
    with pytest.raises(DataError, match=r"Flickr8k\.token\.txt is not UTF-8"):
        flickr8k.read(authors(b"a.jpg#0\t\xff\xfe"))
