"""The page, served, and a real Chromium that visits it and must not call anywhere else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exhibition
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from visiting import PATIENCE, Visit, served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="session")
def exhibit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exhibit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME"):
            patch.delenv(name, raising=False)
        return exhibition.built(folder)


@pytest.fixture(scope="session")
def address(exhibit: Path) -> Iterator[str]:
    """Of the page where everything is trained."""
    with served(exhibit) as (found, _):
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: `apt-get install chromium` brings it")
    # Root, as in containers, may not make Chromium's sandbox.
    options = [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Visit]:
    """`visit(address, **context)` opens the page as another visitor. At the end nobody has called another place, no
    script has failed, and the page was refused nothing that it asked of itself."""
    contexts: list[BrowserContext] = []
    called: list[str] = []
    failed: list[str] = []
    refused: list[str] = []

    def visitor(where: str = address, **settings: Any) -> Page:
        context = browser.new_context(permissions=["camera"], **settings)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        context.on("request", lambda request: called.append(request.url))
        context.on("response", lambda answer: answer.status in (403, 404) and refused.append(answer.url))
        page = context.new_page()
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(where)
        page.get_by_role("heading", name="Captionlab").wait_for()
        return page

    yield visitor
    for context in contexts:
        context.close()
    outside = {url for url in called if not url.startswith(("http://localhost:", "data:", "blob:"))}
    assert not outside, f"the page called {outside}"
    assert not failed, failed
    assert not refused, refused
