"""Line charts."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as some

from src.app.charts import HEIGHT, WIDTH, Line, chart, short, steps

numbers = some.floats(-1e6, 1e6)


@given(numbers, numbers)
def test_steps_are_few_evenly_spaced_and_hold_all_values(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    found = steps(low, high)
    rounding = 1e-6 * max(1.0, abs(low), abs(high))
    assert found[0] <= low + rounding
    assert found[-1] >= high - rounding
    assert 2 <= len(found) <= 8


@given(some.lists(some.tuples(some.integers(0, 50), numbers), min_size=1, max_size=20))
def test_every_point_lies_within_the_chart(points: list[tuple[int, float]]) -> None:
    drawn = ElementTree.fromstring(chart("Loss", [Line("LSTM", "LSTM", points)]))
    for line in drawn.iter("polyline"):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH
            assert -1 <= y <= HEIGHT + 1


def test_a_chart_tells_in_words_what_it_shows() -> None:
    drawn = chart("Validation CIDEr", [Line("GRU", "GRU", [(1, 0.1), (2, 0.75)])])
    assert 'aria-label="Validation CIDEr, by epoch. GRU from 0.1 to 0.75"' in drawn


def test_nothing_is_drawn_of_nothing() -> None:
    assert chart("Loss", [Line("LSTM", "LSTM", []), Line("GRU", "GRU", [(1, float("nan"))])]) == ""


def test_names_are_shown_as_text() -> None:
    assert "<script>" not in chart("<script>", [Line("<script>", "LSTM", [(1, 2.0)])])


def test_numbers_of_an_axis_are_short() -> None:
    assert [short(value) for value in (0, 0.0015, 0.00005, 12_000, -3)] == ["0", "0.0015", "5e-5", "12k", "-3"]
