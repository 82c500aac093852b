"""Ctrl-C and SIGTERM are wishes; a person in a hurry is obeyed at once."""

import os
import signal
import threading

import pytest

from src.tracking import Terminated
from src.training.stopping import StopRequest, stop_requests


@pytest.fixture(autouse=True)
def in_the_foreground():
    """A shell lets what it starts in the background ignore Ctrl-C: here it has its ordinary meaning."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def test_nobody_asked():
    with stop_requests() as stop:
        assert not stop


@pytest.mark.parametrize(
    ("number", "ending"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)], ids=["ctrl-c", "sigterm"]
)
def test_a_first_signal_interrupts_nothing_and_says_how_to_end(number, ending):
    with stop_requests() as stop:
        send(number)
        assert stop
        assert isinstance(stop.grant(), ending)


def test_a_second_ctrl_c_acts_at_once():
    with pytest.raises(KeyboardInterrupt), stop_requests():
        send(signal.SIGINT)
        send(signal.SIGINT)


def test_a_second_sigterm_does_not_cut_the_saving_short():
    with stop_requests() as stop:
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert stop


def test_afterwards_signals_mean_what_they_meant_before():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_requests():
        send(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_is_asked_before_or_within_an_inner_block_is_asked_of_both():
    with stop_requests() as outer:
        with stop_requests() as inner:
            assert not inner
        with stop_requests() as inner:
            send(signal.SIGTERM)
            assert inner
        assert outer
        with stop_requests() as inner:
            assert inner
    with stop_requests() as later:
        assert not later


def test_a_thread_that_gets_no_signals_may_train_as_well():
    seen: list[StopRequest] = []

    def work() -> None:
        with stop_requests() as stop:
            seen.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not seen[0]
