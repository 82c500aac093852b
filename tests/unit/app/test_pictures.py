"""What visitors may send."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from src.app import pictures
from src.app.pictures import RefusedError, embedded, opened, read


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures_of_the_usual_formats_are_opened_whatever_they_are_called(kind: str) -> None:
    picture = opened(encoded(Image.new("RGB", (40, 30)), kind), "holiday.dat")
    assert (picture.mode, picture.size) == ("RGB", (40, 30))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "notes.png is empty"),
        (b"Dear diary", "notes.png is not a picture that can be read here. Choose one in JPEG"),
        (encoded(Image.radial_gradient("L"))[:-200], "notes.png ends in the middle of the picture"),
        (
            encoded(Image.new("1", (9000, 6000))),
            "notes.png has too many pixels (9000 x 6000); the page takes 40 million",
        ),
        (
            encoded(Image.new("1", (20000, 20000))),
            "notes.png has too many pixels (400000000); the page takes 40 million",
        ),
    ],
)
def test_what_cannot_be_captioned_is_refused_by_name_with_the_way_out(data: bytes, told: str) -> None:
    with pytest.raises(RefusedError) as refused:
        opened(data, "notes.png")
    assert told in str(refused.value)


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 2**20)
    path = tmp_path / "film.png"
    path.write_bytes(b"\0" * (2**20 + 1))
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    with pytest.raises(RefusedError, match=r"film.png has 1 MB, the most is 1 MB"):
        read(path)


def test_a_refusal_names_the_file_and_not_where_the_page_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_bytes(b"Dear diary")
    for name in ("notes.png", "gone.png"):
        with pytest.raises(RefusedError) as refused:
            read(tmp_path / name)
        assert str(refused.value).startswith(name)
        assert str(tmp_path) not in str(refused.value)


def test_a_shown_picture_is_no_larger_than_asked_for_and_the_original_stays_as_it_is() -> None:
    picture = Image.new("RGB", (2000, 1000))
    address = embedded(picture, side=100)
    assert address.startswith("data:image/jpeg;base64,")
    assert Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))).size == (100, 50)
    assert picture.size == (2000, 1000)
