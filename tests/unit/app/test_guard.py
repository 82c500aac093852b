"""What the page answers, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from src.app.guard import MOST_SENT, MOST_UPLOADED
from src.app.layout import Shown
from src.app.site import site
from src.places import Places, search_folder

HOST = "localhost:7860"


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(site(Shown.of(Places())), base_url=f"http://{HOST}")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that Gradio would have fetched."""
    asked: list[str] = []

    async def fetch(url: str, *_: object, **__: object) -> None:
        asked.append(url)
        raise OSError("a test has no network")

    for where in ("processing_utils.async_ssrf_protected_get", "routes.secure_url_stream_response"):
        monkeypatch.setattr(f"gradio.{where}", fetch)
    return asked


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=https://elsewhere.example/x.png",
        "/gradio_api/file=HTTPS%3A//elsewhere.example/x.png",
        "/gradio_api/file=http:/elsewhere.example/x.png",
        "/gradio_api/file/https://elsewhere.example/x.png",
        "/gradio_api/proxy=https://elsewhere.hf.space/x.png",
        "/gradio_api/deep_link?session_hash=visitor",
        "/gradio_api/vibe-code",
        "/gradio_api/run-history/records",
        "/monitoring",
        "/openapi.json",
    ],
)
def test_what_the_page_does_not_need_is_not_there(client, fetched, path):
    answer = client.get(path)
    assert (answer.status_code, answer.text, fetched) == (404, "There is nothing here.", [])
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", "/gradio_api/info", "/gradio_api/startup-events"])
def test_what_the_page_needs_is_there(client, path):
    assert client.get(path).status_code == 200


OWN = {"sec-fetch-site": "same-origin", "origin": f"http://{HOST}"}
FOREIGN = {"sec-fetch-site": "cross-site", "origin": "https://elsewhere.example"}


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        (OWN, False),
        ({"origin": f"http://{HOST}"}, False),
        ({"sec-fetch-site": "none"}, False),
        # A proxy before the page that gives it a name of its own.
        ({"origin": "http://captions.example", "x-forwarded-host": "captions.example"}, False),
        (FOREIGN, True),
        ({"origin": "https://elsewhere.example"}, True),
        ({"origin": "null"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://localhost:3000"}, True),
    ],
)
def test_another_website_may_send_nothing_through_a_visitors_browser(client, headers, refused):
    sent = client.post("/gradio_api/upload", files={"files": ("x.txt", b"x")}, headers=headers)
    frame = client.post("/live", content=b"x", headers=headers)
    assert [sent.status_code == 403, frame.status_code == 403] == [refused, refused]


def test_a_link_to_the_page_may_stand_anywhere(client):
    assert client.get("/", headers=FOREIGN).status_code == 200


@pytest.mark.parametrize(("name", "rest"), [("caption", [5, 3]), ("search", ["best first", "LSTM", "CIDEr"])])
def test_an_address_in_place_of_any_value_is_refused_and_not_fetched(client, fetched, name, rest):
    far = {"path": "https://elsewhere.example/film.bin", "meta": {"_type": "gradio.FileData"}}
    with client:
        event = client.post(f"/gradio_api/call/{name}", json={"data": [far, *rest]}, headers=OWN).json()["event_id"]
        said = client.get(f"/gradio_api/call/{name}/{event}").text
    assert "event: error" in said
    assert "fetches nothing from other places" in said
    assert not fetched


@pytest.mark.parametrize(("name", "rest"), [("caption", [5, 3]), ("search", ["best first", "LSTM", "CIDEr"])])
def test_a_file_of_this_machine_in_place_of_any_value_is_refused_and_not_shown(client, tmp_path, name, rest):
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody's business")
    for place in (secret, Path("params.yaml").resolve()):
        near = {"path": str(place), "meta": {"_type": "gradio.FileData"}}
        with client:
            event = client.post(f"/gradio_api/call/{name}", json={"data": [near, *rest]}, headers=OWN).json()[
                "event_id"
            ]
            said = client.get(f"/gradio_api/call/{name}/{event}").text
        assert "event: error" in said
        assert "was not uploaded by a user" in said
        assert "/gradio_api/file=" not in said


def test_every_address_that_the_page_itself_serves_is_let_through(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("seed: 0\n", encoding="utf-8")
    drawn = [Places().figures / "captions.png", search_folder() / "study-1" / "figures" / "history.png"]
    for path in drawn:
        path.parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(path)
    own = TestClient(site(Shown.of(Places())), base_url=f"http://{HOST}")
    for path in ("/figures/captions.png", "/search-figures/study-1/history.png"):
        answer = own.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert own.get("/figures/..%2Fcaptions.png").status_code == 404


def chunks(size: int) -> Iterator[bytes]:
    """A body whose length is not told beforehand."""
    yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    for _ in range(size >> 20):
        yield bytes(2**20)


@pytest.mark.parametrize(
    ("path", "most"),
    [("/gradio_api/upload", MOST_UPLOADED), ("/gradio_api/queue/join", MOST_SENT), ("/live", MOST_SENT)],
)
@pytest.mark.parametrize("told", [True, False])
def test_no_request_is_larger_than_it_needs_to_be(client, path, most, told):
    headers = OWN | {"content-type": "multipart/form-data; boundary=x" if "upload" in path else "application/json"}
    content = bytes(most + 1) if told else chunks(most + 2**21)
    answer = client.post(path, content=content, headers=headers)
    assert answer.status_code == 413
    assert "This is more than" in answer.text


def test_several_pictures_at_once_are_more_than_one(client):
    files = [("files", (f"{number}.png", bytes(15 * 2**20))) for number in range(2)]
    assert client.post("/gradio_api/upload", files=files, headers=OWN).status_code == 413
