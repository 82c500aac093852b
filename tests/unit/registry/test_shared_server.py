"""Machines that share a server have no lock: whoever writes looks again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from src.config import Promote
from src.registry.promotion import settle
from src.registry.versions import CHAMPION, PREVIOUS, Registry, Version


class Shared(Registry):
    """A registry in memory, in which another machine acts right after this one has named a champion."""

    def __init__(self, held: dict[int, float], arriving: dict[int, float], theirs: int | None) -> None:
        self.held, self.arriving, self.theirs = held, arriving, theirs
        self.aliases: dict[str, int] = {}

    def versions(self) -> list[Version]:
        now = datetime.now(UTC)
        made = [
            Version(number, "LSTM", str(number), "data", "run", {"val_CIDEr": repr(value)}, frozenset(), now)
            for number, value in sorted(self.held.items())
        ]
        return [
            replace(one, aliases=frozenset(alias for alias, number in self.aliases.items() if number == one.number))
            for one in made
        ]

    def point(self, alias: str, version: Version | None) -> None:
        assert version is not None
        self.aliases[alias] = version.number
        if alias == CHAMPION:
            self.held |= self.arriving
            if self.theirs:
                self.aliases[CHAMPION], self.theirs = self.theirs, None

    def tag(self, version: Version, values: Mapping[str, str]) -> None:
        return


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_better_model_that_arrives_meanwhile_is_seen() -> None:
    registry = Shared({1: 0.5}, arriving={2: 0.7}, theirs=None)

    verdict = settle(Promote(), registry)

    assert (registry.aliases[CHAMPION], registry.aliases[PREVIOUS]) == (2, 1)
    assert not verdict["promoted"]


def test_a_worse_champion_that_another_machine_names_at_the_same_moment_does_not_stay() -> None:
    registry = Shared({1: 0.5, 2: 0.7, 3: 0.6}, arriving={}, theirs=3)

    settle(Promote(), registry)

    assert registry.aliases[CHAMPION] == 2
