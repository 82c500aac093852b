"""The camera's script in a real browser, without a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from src.app.live import LIVE
from src.app.site import STATIC

CAMERA = """
window.given = [];
window.allow = [];
Object.defineProperty(navigator, "mediaDevices", { value: { getUserMedia: () => new Promise((done) => {
    window.allow.push(() => {
        const canvas = document.createElement("canvas");
        const stream = canvas.captureStream();
        const context = canvas.getContext("2d");
        setInterval(() => context.fillRect(0, 0, Math.random() * 99, 99), 50);
        window.given.push(stream);
        done(stream);
    });
}) } });
"""
"""A camera that each request waits for until the visitor allows it."""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_content(LIVE)
    yield page
    context.close()


def test_a_camera_that_was_asked_for_twice_is_off_once_it_is_stopped(page: Page) -> None:
    page.evaluate(CAMERA)
    page.add_script_tag(path=STATIC / "live.js")
    button = page.locator("[data-part=toggle]")
    button.click()
    button.click()
    page.evaluate("allow.forEach((one) => one())")
    expect(button).to_have_text("Stop the camera")
    button.click()
    expect(button).to_have_text("Start the camera")
    tracks = "given.flatMap((stream) => stream.getTracks()).map((track) => track.readyState)"
    assert set(page.evaluate(tracks)) == {"ended"}


def test_where_the_browser_keeps_the_camera_from_the_page_the_visitor_is_told_why(page: Page) -> None:
    page.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    page.add_script_tag(path=STATIC / "live.js")
    page.locator("[data-part=toggle]").click()
    expect(page.get_by_role("alert")).to_contain_text("only to pages at localhost or https://")
