import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from src.data.download import COLLECTIONS, download
from src.data.reading import DataError
from src.data.transfer import fetch

BODY = os.urandom(300_000)


class RangeServer(BaseHTTPRequestHandler):
    """Serves BODY with ranges, breaks off after `break_after` bytes, and counts what it sent."""

    body, etag, break_after, ranges = BODY, '"one"', None, True
    sent: ClassVar[list[int]] = []

    def do_GET(self):
        wanted = self.headers["Range"]
        same = self.headers["If-Range"] in (None, self.etag)
        begin = int(wanted.split("=")[1].rstrip("-")) if wanted and same and self.ranges else 0
        if wanted and begin >= len(self.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.body)}")
            self.end_headers()
            return
        data = self.body[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(self.body) - 1}/{len(self.body)}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", self.etag)
        self.end_headers()
        data = data[: self.break_after] if self.break_after else data
        self.wfile.write(data)
        self.sent.append(len(data))

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve():
    """Start a server for a handler; gives its address."""
    servers = []

    def start(handler) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def handler(**changes):
    return type("Handler", (RangeServer,), {"sent": [], **changes})


@pytest.fixture
def quiet(tmp_path) -> type[SimpleHTTPRequestHandler]:
    """Python's own file server, which knows no ranges, for the folder `tmp_path/shelf`."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "shelf"))

        def log_message(self, *arguments):
            pass

    return Quiet


@pytest.fixture
def shelf(tmp_path, zipped, photograph) -> Iterator[Path]:
    """A folder that has Flickr8k's two archives."""
    zipped(tmp_path / "shelf/Flickr8k_Dataset.zip", {"a.jpg": photograph()})
    zipped(tmp_path / "shelf/Flickr8k_text.zip", {"Flickr8k.token.txt": "a.jpg#0\tA dog ."})
    return tmp_path / "shelf"


def sums(shelf):
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(shelf.glob("*.zip"))]
    (shelf / "SHA256SUMS").write_text("".join(lines))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_whole(tmp_path, serve):
    fetch(serve(handler()) + "/pack.zip", tmp_path / "pack.zip")
    assert (tmp_path / "pack.zip").read_bytes() == BODY
    assert files(tmp_path) == ["pack.zip"]


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(tmp_path, serve):
    server = handler(break_after=100_000)
    fetch(serve(server) + "/pack.zip", tmp_path / "pack.zip", pause=0)
    assert (tmp_path / "pack.zip").read_bytes() == BODY
    assert server.sent == [100_000, 100_000, 100_000]


def test_what_came_before_the_source_gave_up_is_kept_for_the_next_run(tmp_path, serve):
    address = serve(handler(break_after=20_000)) + "/pack.zip"
    with pytest.raises(DataError, match="100,000 bytes are kept: run again"):
        fetch(address, tmp_path / "pack.zip", pause=0)
    assert not (tmp_path / "pack.zip").exists()
    healthy = handler()
    fetch(serve(healthy) + "/pack.zip", tmp_path / "pack.zip", pause=0)
    assert (tmp_path / "pack.zip").read_bytes() == BODY
    assert healthy.sent == [200_000]


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path, serve):
    with pytest.raises(DataError):
        fetch(serve(handler(break_after=20_000)) + "/pack.zip", tmp_path / "pack.zip", pause=0)
    fetch(serve(handler(etag='"two"', body=BODY[::-1])) + "/pack.zip", tmp_path / "pack.zip")
    assert (tmp_path / "pack.zip").read_bytes() == BODY[::-1]


def test_a_server_without_ranges_sends_everything_again(tmp_path, serve):
    with pytest.raises(DataError):
        fetch(serve(handler(break_after=20_000)) + "/pack.zip", tmp_path / "pack.zip", pause=0)
    fetch(serve(handler(ranges=False)) + "/pack.zip", tmp_path / "pack.zip")
    assert (tmp_path / "pack.zip").read_bytes() == BODY


def test_a_transfer_that_had_arrived_but_was_not_named_yet_is_not_repeated(tmp_path, serve):
    (tmp_path / "pack.zip.partial").write_bytes(BODY)
    (tmp_path / "pack.zip.partial.version").write_text('"one"')
    server = handler()
    fetch(serve(server) + "/pack.zip", tmp_path / "pack.zip")
    assert (tmp_path / "pack.zip").read_bytes() == BODY
    assert server.sent == []


def test_a_dataset_comes_from_a_folder(tmp_path, shelf):
    download("flickr8k", tmp_path / "data", str(shelf))
    assert files(tmp_path / "data/flickr8k") == ["Flickr8k_Dataset.zip", "Flickr8k_text.zip"]


def test_a_dataset_comes_from_a_file_address(tmp_path, shelf):
    download("flickr8k", tmp_path / "data", shelf.as_uri())
    assert files(tmp_path / "data/flickr8k") == ["Flickr8k_Dataset.zip", "Flickr8k_text.zip"]


def test_a_dataset_comes_from_a_plain_file_server(tmp_path, shelf, serve, quiet):
    sums(shelf)
    download("flickr8k", tmp_path / "data", serve(quiet))
    got = tmp_path / "data/flickr8k/Flickr8k_text.zip"
    assert got.read_bytes() == (shelf / "Flickr8k_text.zip").read_bytes()


def test_each_part_comes_from_its_own_address_by_default(tmp_path, shelf, serve, quiet, monkeypatch):
    from dataclasses import replace

    address = serve(quiet)
    collection = COLLECTIONS["flickr8k"]
    parts = tuple(replace(part, url=f"{address}/{part.names[0]}") for part in collection.parts)
    monkeypatch.setitem(COLLECTIONS, "flickr8k", replace(collection, parts=parts))
    download("flickr8k", tmp_path / "data")
    assert files(tmp_path / "data/flickr8k") == ["Flickr8k_Dataset.zip", "Flickr8k_text.zip"]


def test_a_wrong_checksum_is_refused_and_the_file_set_aside(tmp_path, shelf):
    (shelf / "SHA256SUMS").write_text(f"{'0' * 64}  Flickr8k_Dataset.zip\n")
    with pytest.raises(DataError, match="SHA256SUMS says"):
        download("flickr8k", tmp_path / "data", str(shelf))
    assert files(tmp_path / "data/flickr8k") == ["Flickr8k_Dataset.zip.bad"]


@pytest.mark.parametrize("name", ["./Flickr8k_Dataset.zip", "*Flickr8k_Dataset.zip", "*./Flickr8k_Dataset.zip"])
def test_a_checksum_counts_however_its_name_is_written(tmp_path, shelf, name):
    (shelf / "SHA256SUMS").write_text(f"{'0' * 64} {name}\n")
    with pytest.raises(DataError, match="SHA256SUMS says"):
        download("flickr8k", tmp_path / "data", str(shelf))


def test_a_checksum_in_capitals_is_the_same(tmp_path, shelf):
    digest = hashlib.sha256((shelf / "Flickr8k_Dataset.zip").read_bytes()).hexdigest()
    (shelf / "SHA256SUMS").write_text(f"{digest.upper()}  Flickr8k_Dataset.zip\n")
    download("flickr8k", tmp_path / "data", str(shelf))
    assert (tmp_path / "data/flickr8k/Flickr8k_Dataset.zip").exists()


def test_without_checksums_the_one_found_is_printed(tmp_path, shelf, capsys):
    download("flickr8k", tmp_path / "data", str(shelf))
    assert hashlib.sha256((shelf / "Flickr8k_text.zip").read_bytes()).hexdigest() in capsys.readouterr().out


def test_an_archive_that_does_not_open_is_set_aside(tmp_path, shelf):
    (shelf / "Flickr8k_text.zip").write_bytes(b"<html>please log in</html>")
    with pytest.raises(DataError, match=r"Flickr8k_text\.zip is damaged"):
        download("flickr8k", tmp_path / "data", str(shelf))
    assert files(tmp_path / "data/flickr8k") == ["Flickr8k_Dataset.zip", "Flickr8k_text.zip.bad"]


def test_what_is_there_already_is_left_alone(tmp_path, shelf):
    download("flickr8k", tmp_path / "data", str(shelf))
    before = (tmp_path / "data/flickr8k/Flickr8k_text.zip").stat().st_mtime_ns
    download("flickr8k", tmp_path / "data", str(shelf))
    assert (tmp_path / "data/flickr8k/Flickr8k_text.zip").stat().st_mtime_ns == before


def test_any_of_several_forms_of_a_part_will_do(tmp_path, shelf, laid_out, photograph, zipped):
    zipped(tmp_path / "thirty/flickr30k_images.zip", {"1.jpg": photograph()})
    laid_out(tmp_path / "thirty", {"results_20130124.token": "1.jpg#0\tA dog ."})
    download("flickr30k", tmp_path / "data", str(tmp_path / "thirty"))
    assert files(tmp_path / "data/flickr30k") == ["flickr30k_images.zip", "results_20130124.token"]


def test_a_part_one_can_do_without_is_said_to_be_missing(tmp_path, zipped, photograph, capsys):
    for name in ("train2014.zip", "val2014.zip", "annotations_trainval2014.zip"):
        zipped(tmp_path / "shelf" / name, {"a.jpg": photograph()})
    download("coco", tmp_path / "data", str(tmp_path / "shelf"))
    assert "Karpathy's split not found" in capsys.readouterr().out


def test_without_network_one_is_told_what_to_get_and_where_to_put_it(tmp_path):
    with pytest.raises(DataError) as caught:
        download("flickr8k", tmp_path / "data", "http://127.0.0.1:9", pause=0)
    message = str(caught.value)
    for part in COLLECTIONS["flickr8k"].parts:
        assert part.names[0] in message and part.size in message
    assert str(tmp_path / "data/flickr8k") in message


def test_images_given_out_on_request_only_are_asked_for_by_name(tmp_path, laid_out):
    laid_out(tmp_path / "shelf", {"results.csv": "image_name| comment_number| comment\n"})
    with pytest.raises(DataError, match=r"flickr30k-images\.tar .*on request"):
        download("flickr30k", tmp_path / "data", str(tmp_path / "shelf"))


def test_the_command_ends_with_the_next_step(tmp_path, shelf):
    environment = {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "src.data.download", "flickr8k", "--from", str(shelf)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dvc add data" in done.stdout
    assert "dvc exp run -S dataset.name=flickr8k" in done.stdout


@pytest.mark.parametrize(
    ("place", "reason"), [("http://[", "is no address"), ("http://127.0.0.1:1/my data", "cannot be reached"),
                          ("http://127.0.0.1:x/", "cannot be reached")]
)  # fmt: skip
def test_what_is_no_address_is_refused_by_name(tmp_path, place, reason):
    with pytest.raises(DataError) as refused:
        download("flickr8k", tmp_path, place, pause=0)
    assert str(refused.value).startswith(f"{place} {reason}")


def test_an_address_may_hold_what_people_write(tmp_path, shelf, serve, quiet):
    inside = shelf / "my däta"
    inside.mkdir()
    for path in shelf.glob("*.zip"):
        path.rename(inside / path.name)
    download("flickr8k", tmp_path / "data", f"{serve(quiet)}/my däta", pause=0)
    assert files(tmp_path / "data/flickr8k") == files(inside)


def test_a_root_that_is_a_file_is_named(tmp_path, shelf):
    (tmp_path / "README.md").write_text("")
    with pytest.raises(DataError, match=r"README\.md.flickr8k cannot be made .*--root"):
        download("flickr8k", tmp_path / "README.md", str(shelf))
