"""How the models compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.app.comparison import comparison
from src.app.comparison_view import comparison_view
from src.errors import MissingFile, UserError
from src.files import write_json
from src.places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places.below(tmp_path)
    write_json(places.scores, {"LSTM": {"CIDEr": 0.9, "caption_length": 9.5}, "GRU": {"CIDEr": 0.8}})
    return places


def compared(places: Places, **pair: Any) -> None:
    pairs = [{"first": "LSTM", "second": "GRU", "metric": "CIDEr", "difference": 0.1, "p": 0.4} | pair]
    write_json(places.comparison, {"images": 150, "intervals": {"LSTM": {"CIDEr": [0.7, 1.1]}}, "pairs": pairs})


def test_figures_are_shown_without_the_reports_that_may_be_missing(places: Places) -> None:
    found = comparison(places)
    bars = [(bar.model, bar.best, bar.interval) for bar in found.bars["CIDEr"]]
    assert bars == [("LSTM", True, None), ("GRU", False, None)]
    assert found.others == {"caption_length": {"LSTM": 9.5}}
    assert found.champion == ""


def test_a_difference_that_may_be_luck_is_said_to_be_so(places: Places) -> None:
    compared(places)
    view = comparison_view(comparison(places))
    assert "LSTM is ahead of GRU by 0.100 CIDEr: which may be the luck of these images (p = 0.400)" in view
    compared(places, difference=-0.2, p=0.0001)
    view = comparison_view(comparison(places))
    assert "GRU is ahead of LSTM by 0.200 CIDEr: more than the luck of these images (p &lt; 0.001)" in view


def test_the_champion_is_named_with_the_registrys_reasons(places: Places) -> None:
    write_json(places.promotion, {"champion": {"model": "LSTM", "version": 3}, "reasons": ["it is <better>"]})
    view = comparison_view(comparison(places))
    assert "LSTM, version 3" in view
    assert "It is &lt;better&gt;." in view


def test_what_is_missing_or_damaged_is_named_with_the_way_out(places: Places, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="Run `dvc repro`"):
        comparison(Places.below(tmp_path / "elsewhere"))
    places.scores.write_text("[1]")
    with pytest.raises(UserError, match=r"evaluation.json is damaged"):
        comparison(places)
