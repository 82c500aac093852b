"""The page forgets its visitors: when they are silent for long, and when many others come."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from gradio.routes import App

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
