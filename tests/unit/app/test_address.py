"""Where the page listens, and the address that it prints and opens."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from src.app.__main__ import _address, _listen, _loopback
from src.app.layout import Shown
from src.app.site import site
from src.errors import UserError
from src.places import Places


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", "localhost"), ("0.0.0.0", "0.0.0.0"), ("::1", "::1"), ("::", "::")]
)
def test_the_address_is_one_that_a_browser_opens(host, name):
    parts = urlsplit(_address(host, 7860))
    assert (parts.hostname, parts.port) == (name, 7860)


def test_no_address_at_all_is_not_every_address():
    with pytest.raises(UserError, match="--host is empty"):
        _listen("", 0)


@pytest.mark.parametrize(
    ("host", "alone"), [("127.0.0.1", True), ("127.1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_whether_this_machine_alone_reaches_it_is_asked_of_what_it_listens_at(host, alone):
    with _listen(host, 0) as listening:
        assert _loopback(listening) is alone


@pytest.mark.parametrize("port", [99999, -1])
def test_a_number_that_no_port_has_is_named(port):
    with pytest.raises(UserError, match=f"--port {port} cannot be listened at"):
        _listen("127.0.0.1", port)


def test_a_port_that_is_taken_is_named():
    with _listen("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(UserError, match=r"cannot be listened at .* --port 0 takes any that is free"):
            _listen("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_a_host_that_is_another_machine_is_named(host):
    with pytest.raises(UserError, match="--host wants a name or an address of this machine"):
        _listen(host, 0)


@pytest.mark.parametrize(
    ("host", "refused"), [("127.0.0.1", True), ("127.0.0.2", True), ("localhost", True), ("::1", True), ("::", False)]
)
def test_on_loopback_it_answers_in_its_own_name_alone(host, refused):
    client = TestClient(site(Shown.of(Places()), host, loopback=refused))
    own = f"[{host}]" if ":" in host else host
    asked = [client.get("/", headers={"host": f"{name}:7860"}).status_code for name in (own, "elsewhere.example")]
    assert [status == 400 for status in asked] == [False, refused]
