"""The page forgets its visitors: when they are silent for long, and when many others come."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from gradio.queueing import Event
from gradio.routes import App
from gradio.server_messages import EstimationMessage

from src.app import visitors
from src.app.layout import Shown, build
from src.app.site import site
from src.app.visitors import Visitors
from src.places import Places


@pytest.fixture
def remembered(tmp_path, monkeypatch) -> Visitors:
    monkeypatch.chdir(tmp_path)
    return Visitors.of(build(Shown.of(Places())))


def test_the_one_who_was_silent_for_longest_is_forgotten_first(remembered):
    for number in range(visitors.MOST + 20):
        _ = remembered[f"visitor {number}"]
    assert len(remembered.session_data) == visitors.MOST
    assert "visitor 0" not in remembered


def test_whoever_is_silent_for_long_is_forgotten_with_what_they_were_shown(remembered):
    for name in ("gone", "here"):
        _ = remembered[name]
    remembered.time_last_used["gone"] -= timedelta(seconds=visitors.SECONDS + 1)
    remembered.delete_all_expired_state()
    assert list(remembered.session_data) == list(remembered.time_last_used) == ["here"]


def test_the_page_that_is_served_forgets():
    with TestClient(site(Shown.of(Places())), base_url="http://localhost") as client:
        [inside] = (route.app for route in client.app.routes if isinstance(getattr(route, "app", None), App))
        data = {"data": ["dog", "best first", "LSTM", "CIDEr"], "session_hash": "visitor"}
        event = client.post("/gradio_api/call/search", json=data).json()["event_id"]
        client.get(f"/gradio_api/call/search/{event}")
        assert isinstance(inside.state_holder, Visitors)
        assert inside.state_holder is inside.get_blocks().state_holder
        assert inside.state_holder.session_data


def test_answers_for_somebody_who_was_forgotten_are_thrown_away(monkeypatch):
    """And do not end the queue for all, as Gradio's own memory does."""
    monkeypatch.setattr(visitors, "LETTERS", 2)
    blocks = build(Shown.of(Places()))
    Visitors.of(blocks)
    letters = blocks._queue.pending_messages_per_session
    for name in ("first", "second", "third"):
        letters[name] = asyncio.Queue()
    assert list(letters) == ["second", "third"]
    event = Event("first", next(iter(blocks.fns.values())), None, None)
    blocks._queue.send_message(event, EstimationMessage(queue_size=1))
    assert "first" not in letters and not blocks._queue.stopped


def test_answers_that_nobody_fetches_are_forgotten(remembered, monkeypatch):
    queue = remembered.blocks._queue
    for name in ("gone", "here"):
        queue.pending_messages_per_session[name] = asyncio.Queue()
        queue.pending_event_ids_session[name] = {"event"}
    queue.pending_messages_per_session.since["gone"] -= visitors.SECONDS + 1
    remembered.delete_all_expired_state()
    assert list(queue.pending_messages_per_session) == list(queue.pending_event_ids_session) == ["here"]


def test_what_was_sent_is_deleted_after_a_while_whether_or_not_it_arrived_whole(remembered, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    for name, age in (("whole/old.png", visitors.SECONDS + 5), ("broken-off", visitors.SECONDS + 5), ("new.png", 5)):
        path = tmp_path / "uploads" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    remembered.delete_all_expired_state()
    assert [path.name for path in (tmp_path / "uploads").rglob("*") if path.is_file()] == ["new.png"]


def test_a_folder_that_others_use_too_is_left_alone(remembered, tmp_path, monkeypatch):
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "gradio").mkdir()
    (tmp_path / "gradio" / "old.png").touch()
    os.utime(tmp_path / "gradio" / "old.png", (0, 0))
    remembered.delete_all_expired_state()
    assert (tmp_path / "gradio" / "old.png").exists()
