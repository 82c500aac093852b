"""The learning rate rises, then falls, and ends where it should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.training.schedule import learning_rate_factor


def test_it_rises_in_equal_steps_to_the_whole_learning_rate():
    assert [learning_rate_factor(step, 100, 4, 0.1) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_without_warm_up_the_first_step_has_the_whole_learning_rate():
    assert learning_rate_factor(0, 100, 0, 0.1) == 1.0


@given(st.integers(0, 50), st.integers(2, 400), st.floats(0, 1))
def test_after_the_warm_up_it_falls_to_its_end_on_the_last_step(warmup, steps_after, final):
    steps = warmup + steps_after
    rates = [learning_rate_factor(step, steps, warmup, final) for step in range(warmup, steps)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(final)


def test_a_run_shorter_than_the_warm_up_rises_for_half_of_its_steps_and_falls_to_its_end():
    rates = [learning_rate_factor(step, 36, 50, 0.05) for step in range(36)]
    assert max(rates) == rates[18] == 1.0
    assert rates[-1] == pytest.approx(0.05)


def test_half_way_down_it_is_half_way_between():
    assert learning_rate_factor(50, 101, 0, 0.2) == pytest.approx(0.6)


@given(st.integers(0, 99), st.integers(1, 50), st.integers(0, 99))
def test_no_step_is_without_a_learning_rate_or_above_it(step, steps, warmup):
    assert 0 < learning_rate_factor(step, steps, warmup, 0.05) <= 1
