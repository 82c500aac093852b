"""METEOR's process answers, or says why not, and never stays behind.

What it answers is compared with pycocoevalcap in test_evaluation.py.
"""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from src.metrics.java import JavaError
from src.metrics.meteor import STATISTICS, Meteor

REFERENCES = [["a dog runs"], ["a cat"]]
CAPTIONS = ["a dog", "a cat sits"]
# Statistics to the first line, and to the second the figures of one image and of the corpus.
ANSWERING = f"while read line; do echo {'1 ' * STATISTICS}; read line; echo 1.0; echo 1.0; done"


def ended(process):
    """Wait for a process to end; one that only waits for its parent to take notice has ended."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_hanging_process_is_given_up(stand_in):
    stand_in("exec sleep 60")
    with pytest.raises(JavaError, match=r"2 images in 0\.2 s: raise evaluate\.java_timeout"), Meteor(0.2) as meteor:
        meteor.score(REFERENCES, CAPTIONS)


def test_a_process_that_reads_nothing_is_given_up(stand_in):
    stand_in("exec sleep 60")
    with pytest.raises(JavaError, match="did not finish"), Meteor(timeout=0.5) as meteor:
        meteor.score([["dog " * 100_000]], ["a dog"])


def test_a_process_that_dies_is_quoted(stand_in):
    stand_in("echo 'no heap' >&2; exit 1")
    with pytest.raises(JavaError, match="no heap"), Meteor() as meteor:
        meteor.score(REFERENCES, CAPTIONS)


def test_a_process_that_refuses_a_line_is_quoted(stand_in):
    stand_in("while read line; do echo 'Error: specify hypothesis'; done")
    with pytest.raises(JavaError, match="Error: specify hypothesis"), Meteor() as meteor:
        meteor.score(REFERENCES, CAPTIONS)


def test_a_process_that_answers_in_another_form_is_quoted(stand_in):
    stand_in("while read line; do echo 1.0; echo 1.0; echo 1.0; done")
    with pytest.raises(JavaError, match="1 statistics an image, not 23"), Meteor() as meteor:
        meteor.score([["a dog"]], ["a dog"])


def test_a_talkative_process_does_not_block(stand_in):
    stand_in(f"head -c 1000000 /dev/zero >&2; {ANSWERING}")
    with Meteor(timeout=30) as meteor:
        assert meteor.score([["a dog"]], ["a dog"]).overall == 1.0


def test_the_fields_of_a_line_cannot_be_broken_by_a_caption(stand_in, tmp_path):
    heard = tmp_path / "heard"
    stand_in(ANSWERING.replace("read line; do", f'read line; do echo "$line" >> {heard};'))
    with Meteor() as meteor:
        meteor.score([["a ||| b", "c\nd\re"]], ["f ||| g\u2028h"])
    assert heard.read_text().splitlines()[0] == "SCORE ||| a b ||| c d e ||| f g h"


def test_the_process_ends_with_the_block(stand_in):
    stand_in("exec sleep 60")
    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt), Meteor():
        (process,) = (child for child in psutil.Process().children() if child not in before)
        raise KeyboardInterrupt
    assert not process.is_running()


def test_captions_must_fit_the_references(stand_in):
    stand_in("exec sleep 60")
    with pytest.raises(ValueError, match="1 captions for the references of 2 images"), Meteor() as meteor:
        meteor.score(REFERENCES, CAPTIONS[:1])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_real_process_ends_when_python_is_ended(how):
    program = """
import time
from src.metrics.meteor import Meteor
with Meteor() as meteor:
    print(meteor._process.pid, flush=True)
    for _ in range(1200):  # not one long wait: Python would sleep through a Ctrl-C that comes just before it begins
        time.sleep(0.1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as python:
        java = psutil.Process(int(python.stdout.readline()))
        python.send_signal(how)
        python.wait(timeout=60)
        assert ended(java)
