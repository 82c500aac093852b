"""However many visitors come, the page remembers some."""

from gradio.state_holder import StateHolder

from src.app.layout import MOST_SESSIONS, Shown, build
from src.places import Places


def test_visitors_who_left_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sessions = StateHolder()
    sessions.set_blocks(build(Shown.of(Places())))
    for number in range(MOST_SESSIONS + 20):
        _ = sessions[f"visitor {number}"]
    assert len(sessions.session_data) == MOST_SESSIONS
    assert "visitor 0" not in sessions
