"""Where the page listens, and the address that it prints and opens."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from src.app.__main__ import _address, _listen
from src.errors import UserError


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", "localhost"), ("0.0.0.0", "0.0.0.0"), ("::1", "::1"), ("::", "::")]
)
def test_the_address_is_one_that_a_browser_opens(host, name):
    parts = urlsplit(_address(host, 7860))
    assert (parts.hostname, parts.port) == (name, 7860)


@pytest.mark.parametrize("port", [99999, -1])
def test_a_number_that_no_port_has_is_named(port):
    with pytest.raises(UserError, match=f"--port {port} cannot be listened at"):
        _listen("127.0.0.1", port)


def test_a_port_that_is_taken_is_named():
    with _listen("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(UserError, match="cannot be listened at"):
            _listen("127.0.0.1", taken.getsockname()[1])
