"""The truth table of promotion: who becomes champion, on which figures, and why not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.config import Promote
from src.registry.promotion import baseline, decide
from src.registry.versions import WITHDRAWN_TAG, Version

HERE, ELSEWHERE = "a" * 64, "b" * 64


def version(
    number: int, val: float | None, name: str = "LSTM", *aliases: str, data: str = HERE, **tags: str
) -> Version:
    figures = {} if val is None else {"val_CIDEr": repr(val)}
    now = datetime.now(UTC)
    return Version(number, name, f"content {number}", data, "run", figures | tags, frozenset(aliases), now)


TABLE = {
    "nothing is registered": ([], {}, None, "no LSTM or GRU on this data"),
    "only BLIP is registered": ([version(1, 0.9, "BLIP", "baseline")], {}, None, "no LSTM or GRU on this data"),
    "the first model": ([version(1, 0.5)], {}, 1, "the first champion"),
    "a better one": ([version(1, 0.5, "LSTM", "champion"), version(2, 0.6, "GRU")], {}, 2, "had 0.5000"),
    "a worse one": ([version(1, 0.5, "LSTM", "champion"), version(2, 0.4, "GRU")], {}, None, "champion already"),
    "an equal one": ([version(1, 0.5, "LSTM", "champion"), version(2, 0.5, "GRU")], {}, None, "champion already"),
    "the older of equals": ([version(1, 0.5), version(2, 0.5, "GRU", "champion")], {}, None, "more is wanted"),
    "better by less than asked": (
        [version(1, 0.5, "LSTM", "champion"), version(2, 0.515)],
        {"min_delta": 0.02},
        None,
        "at least 0.02 more is wanted",
    ),
    "better by just as much as asked": (
        [version(1, 0.2, "LSTM", "champion"), version(2, 0.3)],
        {"min_delta": 0.1},
        2,
        "had 0.2000",
    ),
    "the best of several, whoever asks": (
        [version(1, 0.5, "LSTM", "champion"), version(2, 0.7), version(3, 0.6)],
        {},
        2,
        "0.7000",
    ),
    "test figures say otherwise": (
        [version(1, 0.5, "LSTM", "champion", test_CIDEr="0.1"), version(2, 0.4, test_CIDEr="0.9")],
        {},
        None,
        "champion already",
    ),
    "BLIP is better and need not be beaten": ([version(1, 0.9, "BLIP"), version(2, 0.5)], {}, 2, "first champion"),
    "BLIP is better and must be beaten": (
        [version(1, 0.9, "BLIP"), version(2, 0.5)],
        {"require_baseline": True},
        None,
        "BLIP) has 0.9000",
    ),
    "BLIP is as good and must be beaten": (
        [version(1, 0.5, "BLIP"), version(2, 0.5)],
        {"require_baseline": True},
        None,
        "BLIP) has 0.5000",
    ),
    "BLIP is beaten": ([version(1, 0.4, "BLIP"), version(2, 0.5)], {"require_baseline": True}, 2, "first champion"),
    "BLIP must be beaten and is not there": (
        [version(1, 0.5)],
        {"require_baseline": True},
        None,
        "there is no BLIP",
    ),
    "BLIP must be beaten and was measured on other data": (
        [version(1, 0.1, "BLIP", "baseline", data=ELSEWHERE), version(2, 0.5)],
        {"require_baseline": True},
        None,
        "there is no BLIP",
    ),
    "the champion is of other data, with a higher figure": (
        [version(1, 2.0, "LSTM", "champion", data=ELSEWHERE), version(2, 0.5)],
        {"min_delta": 0.1},
        2,
        "was measured on other data",
    ),
    "a better model of other data": (
        [version(1, 0.5, "LSTM", "champion"), version(2, 2.0, data=ELSEWHERE)],
        {},
        None,
        "champion already",
    ),
    "a better one was rolled back from": (
        [version(1, 0.9, **{WITHDRAWN_TAG: "yesterday"}), version(2, 0.5, "GRU", "champion")],
        {},
        None,
        "champion already",
    ),
    "one without a figure": ([version(1, None)], {}, None, "has val_CIDEr"),
}


@pytest.mark.parametrize(("versions", "rule", "winner", "reason"), TABLE.values(), ids=TABLE)
def test_who_becomes_champion(versions: list[Version], rule: dict, winner: int | None, reason: str) -> None:
    decision = decide(versions, HERE, Promote(**rule))

    assert (decision.winner.number if decision.winner else None) == winner
    assert reason in decision.reason


@given(st.lists(st.floats(0, 3), min_size=1, max_size=8))
def test_in_whatever_order_models_come_the_best_ends_as_champion(figures: list[float]) -> None:
    champion: Version | None = None
    known: list[Version] = []
    for number, figure in enumerate(figures, start=1):
        known.append(version(number, figure))
        held = [
            version(one.number, one.figure("val_CIDEr"), "LSTM", *(["champion"] if one == champion else []))
            for one in known
        ]
        if winner := decide(held, HERE, Promote()).winner:
            champion = known[winner.number - 1]

    assert champion is not None
    assert champion.figure("val_CIDEr") == pytest.approx(max(figures), abs=1e-8)


def test_of_two_baselines_on_the_data_the_one_with_the_alias_counts() -> None:
    versions = [version(1, 0.3, "BLIP", "baseline"), version(2, 0.4, "BLIP"), version(3, 0.9, "BLIP", data=ELSEWHERE)]

    assert baseline(versions, HERE) == versions[0]
    assert baseline(versions[1:], HERE) == versions[1]


@pytest.mark.parametrize("metric", ["test_CIDEr", "CIDEr", "val_loss"])
def test_no_other_figure_may_decide(metric: str) -> None:
    with pytest.raises(ValueError, match="val_CIDEr"):
        Promote(metric=metric)
