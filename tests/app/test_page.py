"""What visitors do with the page, in a real browser."""

from __future__ import annotations

import os
import re
import signal
from io import BytesIO
from pathlib import Path
from typing import Any

import exhibition
import httpx
import psutil
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from visiting import PATIENCE, Visit, served

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
ROOMS = ("Caption", "Live", "Gallery", "Experiments")
expect.set_options(timeout=PATIENCE)


def file(content: bytes, name: str = "scene.png", kind: str = "image/png") -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": content}


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def upload(page: Page, content: bytes | None = None, name: str = "scene.png") -> None:
    page.set_input_files("#picture input[type=file]", [file(content or png(exhibition.picture()), name)])


def captioned(page: Page) -> None:
    upload(page)
    page.locator(".cl-card").first.wait_for()


def enter(page: Page, room: str) -> None:
    page.get_by_role("tab", name=room, exact=True).click()


def test_a_picture_is_captioned_by_all_models_side_by_side_each_with_its_time(visit: Visit) -> None:
    page = visit()
    captioned(page)
    cards = page.locator(".cl-card")
    expect(cards).to_have_count(3)
    assert [cards.nth(place).get_attribute("aria-label") for place in range(3)] == ["LSTM", "GRU", "BLIP"]
    expect(cards.nth(0).locator(".cl-badge")).to_have_text("champion")
    for place in range(3):
        expect(cards.nth(place)).to_contain_text(re.compile(r"\d+ ms"))


def test_pressing_a_word_lights_up_where_the_model_looked_and_says_it(visit: Visit) -> None:
    page = visit()
    captioned(page)
    word = page.locator(".cl-card").first.locator(".cl-word").first
    word.click()
    expect(word).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".cl-stage")).to_have_class(re.compile("cl-lit"))
    expect(page.locator(".cl-status")).to_contain_text(re.compile(r"LSTM said “\w+” looking (at|all over)"))
    shades = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    assert page.locator(".cl-stage canvas").evaluate(shades) > 4, "one colour and its opacity are an even look"
    word.press("Enter")
    expect(word).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".cl-status")).to_contain_text("Press a word")


def test_words_can_be_reached_and_pressed_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit()
    captioned(page)
    first, second = (page.locator(".cl-card").first.locator(".cl-word").nth(place) for place in range(2))
    first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(second).to_have_attribute("aria-pressed", "true")
    expect(first).to_have_attribute("aria-pressed", "false")


def test_models_search_as_they_were_evaluated_until_the_visitor_chooses_a_beam(visit: Visit) -> None:
    page = visit()
    captioned(page)
    page.get_by_role("button", name="How to search").click()
    alternatives = page.locator("#alternatives input[type=number]")
    alternatives.click()  # only once it stands still
    alternatives.fill("5")
    expect(alternatives).to_have_value("5")
    alternatives.press("Tab")
    beams = page.get_by_label("Beam size")
    for beam, more in (("5", "4 more"), ("2", "1 more"), ("as evaluated", "2 more")):
        beams.click()
        page.get_by_role("option", name=beam, exact=True).click()
        expect(page.locator(".cl-more summary").first).to_have_text(more)


def test_sliders_are_set_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit()
    captioned(page)
    expect(page.locator(".cl-more summary").first).to_have_text("2 more")
    page.get_by_role("button", name="How to search").click()
    slider = page.locator("#alternatives input[type=range]")
    slider.hover()  # only once it stands still: Gradio takes back what is set in the moment that it appears
    slider.press("ArrowLeft")
    expect(page.locator(".cl-more summary").first).to_have_text("1 more")


def test_a_file_that_is_no_picture_is_refused_politely_and_the_next_one_is_captioned(visit: Visit) -> None:
    page = visit()
    upload(page, b"Dear diary, ...", "diary.png")
    expect(
        page.get_by_role("alert").filter(has_text="diary.png is not a picture that can be read here")
    ).to_be_visible()
    page.get_by_label("Remove Image").click()
    captioned(page)


def test_a_picture_of_too_many_pixels_is_refused_with_its_size(visit: Visit) -> None:
    page = visit()
    upload(page, png(Image.new("1", (9000, 6000))), "poster.png")
    expect(page.locator(".cl-refusal")).to_contain_text("poster.png has too many pixels (9000 x 6000)")


def test_a_file_of_too_many_bytes_does_not_reach_the_page(address: str) -> None:
    answer = httpx.post(f"{address}/gradio_api/upload", files={"files": ("film.png", b"\0" * (21 << 20))}, timeout=60)
    assert answer.status_code == 413


def test_the_camera_is_captioned_live_and_frames_are_dropped_rather_than_queued(visit: Visit) -> None:
    page = visit()
    enter(page, "Live")
    page.get_by_role("button", name="Start the camera").click()
    expect(page.locator("[data-part=rate]")).to_contain_text(
        re.compile(r"[\d.]+ captions a second · LSTM \d+ ms, \d+ of \d+ camera frames dropped")
    )
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.get_by_role("button", name="Start the camera")).to_be_visible()
    expect(page.locator("[data-part=rate]")).to_have_text("")


def test_the_gallery_is_searched_and_ordered_and_opens_to_references_and_figures(visit: Visit) -> None:
    page = visit()
    enter(page, "Gallery")
    expect(page.locator(".cl-tile")).to_have_count(24)
    page.get_by_label("Search").fill("blue")
    expect(page.locator("#tiles [role=status]")).to_have_text("10 of 30 test images")
    first = page.locator(".cl-tile").first
    expect(first).to_contain_text("CIDEr 2.90")
    page.get_by_label("Order").click()
    page.get_by_role("option", name="worst first").click()
    expect(first).to_contain_text("CIDEr 0.20")
    first.locator("summary").press("Enter")
    expect(first).to_contain_text("A blue square number")
    expect(first.get_by_role("rowheader")).to_have_text(["LSTM", "GRU", "BLIP"])
    assert first.locator("img").evaluate("image => image.complete && image.naturalWidth") == exhibition.SIDE


def test_the_experiments_are_followed_without_a_terminal(visit: Visit) -> None:
    page = visit()
    enter(page, "Experiments")
    view = page.locator("#models-view")
    expect(view).to_contain_text("LSTM, version 3")
    expect(view).to_contain_text("LSTM is ahead of GRU by 0.300 CIDEr: more than the luck of these images (p = 0.010)")
    expect(page.locator("#runs-view tbody tr")).not_to_have_count(0)
    enter(page, "Training")
    expect(page.locator("#training-view svg").first).to_be_visible()
    expect(page.locator("#training-view")).to_contain_text("finished after epoch 3")
    expect(page.locator("#training-view")).to_contain_text("learning rate halved")
    enter(page, "Embeddings")
    expect(page.locator("#maps-view")).to_contain_text("dvc repro visualize")
    enter(page, "Tuning")
    expect(page.locator("#tuning-view")).to_contain_text("python -m src.tune")


def test_on_a_phone_nothing_is_wider_than_the_screen(visit: Visit) -> None:
    page = visit(**PHONE)
    captioned(page)
    for room in ROOMS:
        enter(page, room)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), room
    enter(page, "Caption")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator(".cl-card").nth(1).locator(".cl-word").first.tap()
    expect(page.locator(".cl-stage")).to_be_in_viewport(ratio=0.9)  # the picture stays in sight


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit: Visit, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    captioned(page)
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    for part in (".cl-status", ".cl-card h3", ".cl-word", ".cl-card .cl-small", ".cl-badge"):
        assert page.locator(part).first.evaluate(CONTRAST) >= 4.5, part


CONTRAST = """element => {
    const light = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(value => value / 255)
            .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let ground = element;
    const clear = colour => colour === 'rgba(0, 0, 0, 0)' || colour === 'transparent';
    while (ground.parentElement && clear(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
    const [a, b] = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""
"""WCAG 2.2's contrast ratio of a text to its ground."""


def test_everything_that_can_be_used_has_a_name_for_screen_readers(visit: Visit) -> None:
    page = visit()
    captioned(page)
    for room in ROOMS:
        enter(page, room)
        page.wait_for_timeout(300)
        for part in page.locator("button, input, select, img, [role=img], [role=tab], summary, video").all():
            if part.is_visible():
                assert part.evaluate(NAMED), f"{room}: {part.evaluate('element => element.outerHTML')[:200]}"


NAMED = """element => [
    element.getAttribute('aria-label'), element.getAttribute('alt'), element.title, element.textContent,
    ...[...(element.labels ?? [])].map(label => label.textContent),
    ...(element.getAttribute('aria-labelledby') ?? '').split(' ').map(id => document.getElementById(id)?.textContent)
].some(name => name?.trim())"""


def test_several_visitors_at_once_each_get_their_captions(visit: Visit) -> None:
    pages = [visit() for _ in range(4)]
    for page in pages:
        upload(page)
    for page in pages:
        expect(page.locator(".cl-card")).to_have_count(3)


def test_the_page_answers_this_machine_alone_and_in_its_own_name(visit: Visit, address: str) -> None:
    page = visit()
    answer = page.request.get(address, headers={"Host": "elsewhere.example"})
    assert answer.status == 400
    port = int(address.rpartition(":")[2])
    listening = [
        one.laddr.ip for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port
    ]
    assert listening == ["127.0.0.1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_page_that_is_ended_leaves_nothing_of_its_visitors_behind(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n", encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    sent = {"files": ("scene.png", png(exhibition.picture()))}
    former = signal.signal(number, signal.SIG_DFL)  # what nohup started, and all that it starts, ignore SIGHUP
    try:
        with served(tmp_path) as (address, process), httpx.Client(transport=httpx.HTTPTransport(retries=9)) as client:
            client.post(f"{address}/gradio_api/upload", files=sent, timeout=60).raise_for_status()
            assert list((tmp_path / "temporary").glob("captionlab-*/*/scene.png"))
            os.kill(process, number)
            psutil.Process(process).wait(30)
    finally:
        signal.signal(number, former)
    assert not list((tmp_path / "temporary").glob("captionlab-*"))


def test_while_nothing_is_trained_every_room_says_what_to_do(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n", encoding="utf-8")
    with served(tmp_path) as (address, _):
        page = visit(address)
        upload(page)
        expect(page.locator("#result")).to_contain_text("No model is trained yet. Run make repro")
        enter(page, "Live")
        page.get_by_role("button", name="Start the camera").click()
        expect(page.locator("[data-part=problem]")).to_contain_text("No model is trained yet")
        enter(page, "Gallery")
        expect(page.locator("#tiles")).to_contain_text("No test images are captioned yet")
        enter(page, "Experiments")
        expect(page.locator("#models-view")).to_contain_text("Nothing is evaluated yet")
        expect(page.locator("#runs-view")).to_contain_text("No run is recorded yet")
    assert not (tmp_path / "mlruns").exists(), "looking at an empty repository leaves nothing behind"
