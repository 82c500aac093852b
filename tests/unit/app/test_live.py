"""The webcam's frames."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from src.app import live
from src.app.answers import Answer, Said, Turns
from src.app.live import frames
from src.app.speakers import Cast


class Speakers:
    def now(self) -> Cast:
        return Cast()


@pytest.fixture
def turns() -> Turns:
    return Turns(1)


@pytest.fixture
def client(turns: Turns) -> Iterator[TestClient]:
    application = FastAPI()
    application.include_router(frames(Speakers(), turns))  # type: ignore[arg-type]
    with TestClient(application) as client:
        yield client


@pytest.fixture
def frame() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_frame_gets_a_caption(client: TestClient, frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "live", lambda picture, cast: Answer("LSTM", "", True, (Said(("a", "dog")),), 0.05))
    assert client.post("/live", content=frame).json() == {"caption": "A dog.", "name": "LSTM", "seconds": 0.05}


def test_a_frame_is_dropped_where_all_turns_are_taken(
    client: TestClient, frame: bytes, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.01)
    with turns.taken():
        assert client.post("/live", content=frame).status_code == 503


def test_no_more_frames_are_decoded_at_once_than_there_are_turns(
    client: TestClient, frame: bytes, turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PATIENCE", 0.01)
    decoded: list[str] = []
    monkeypatch.setattr(live, "opened", lambda data, name: decoded.append(name))
    with turns.taken():
        client.post("/live", content=frame)
    assert not decoded


def test_what_is_no_frame_is_refused(client: TestClient, frame: bytes) -> None:
    assert client.post("/live", content=b"hello").status_code == 415
    assert client.post("/live", content=b"\0" * (live.MOST_FRAME_BYTES + 1)).status_code == 413


def test_without_a_model_the_visitor_is_told_so(client: TestClient, frame: bytes) -> None:
    answer = client.post("/live", content=frame)
    assert answer.status_code == 409
    assert "No model is trained yet" in answer.json()["detail"]
