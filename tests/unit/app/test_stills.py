"""Pictures of the gallery, as the browser asks for them."""

from __future__ import annotations

import json
import os
import re
import time
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import tiny
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from src.app.gallery import Albums
from src.app.gallery_view import gallery_view
from src.app.stills import files
from src.data.manifest import Location, Manifest
from src.places import Places

ARCHIVE = Path("data/tiny/pack.tar")


@pytest.fixture
def albums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Albums:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("seed: 0\n", encoding="utf-8")
    ARCHIVE.parent.mkdir(parents=True)
    return Albums(Places())


@pytest.fixture
def client(albums: Albums) -> TestClient:
    application = FastAPI()
    application.include_router(files(albums.places, albums))
    return TestClient(application)


def evaluated(places: Places, *colours: str) -> None:
    """Test images of these colours, put in the place of the former ones as `dvc checkout` does, and captioned."""
    packed, records = b"header", []
    for number, colour in enumerate(colours):
        buffer = BytesIO()
        Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
        data = buffer.getvalue()
        location = Location("tiny/pack.tar", len(packed), len(data), crc32=zlib.crc32(data))
        records.append(replace(tiny.image(number, "test"), location=location))
        packed += data
    fetched = ARCHIVE.with_suffix(".new")
    fetched.write_bytes(packed)
    fetched.replace(ARCHIVE)
    Manifest.of(records).save(places.dataset)
    said = [
        {"filename": one.filename, "generated_caption": "a dog", "evaluation_metrics": {"CIDEr": 1.0}}
        for one in records
    ]
    places.evaluation.parent.mkdir(parents=True, exist_ok=True)
    places.evaluation.write_text(json.dumps({"models": {"LSTM": {"test_images": said}}}), encoding="utf-8")
    os.utime(places.evaluation, ns=(time.time_ns(), time.time_ns()))  # the file system's own clock may stand still


def addresses(albums: Albums) -> list[str]:
    """Of the pictures that the gallery shows now."""
    album = albums.now()
    return re.findall(r'src="([^"]*)"', gallery_view(album.entries, album, "LSTM", "CIDEr", len(album.entries)))


def colour(client: TestClient, address: str) -> tuple[int, ...]:
    answer = client.get(address)
    assert answer.status_code == 200
    pixel = Image.open(BytesIO(answer.content)).getpixel((4, 4))
    assert isinstance(pixel, tuple)
    return tuple(255 * (value > 127) for value in pixel)


def test_pictures_are_those_of_the_archive_that_lies_there_now(albums: Albums, client: TestClient) -> None:
    evaluated(albums.places, "red", "blue")
    assert [colour(client, address) for address in addresses(albums)] == [(255, 0, 0), (0, 0, 255)]
    evaluated(albums.places, "lime", "red", "blue")
    assert [colour(client, address) for address in addresses(albums)] == [(0, 255, 0), (255, 0, 0), (0, 0, 255)]


def test_no_picture_comes_under_the_address_of_another(albums: Albums, client: TestClient) -> None:
    evaluated(albums.places, "red")
    [former] = addresses(albums)
    evaluated(albums.places, "blue")
    [latter] = addresses(albums)
    assert latter != former  # which the browser may still have a picture of
    assert client.get(former).status_code == 404


def test_what_is_no_test_image_is_not_there(albums: Albums, client: TestClient) -> None:
    evaluated(albums.places, "red")
    [address] = addresses(albums)
    for other in (f"{address}1", f"{address[:-1]}-1", "test-images/0"):
        assert client.get(other).status_code == 404
