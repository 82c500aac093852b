"""A registry that is rebuilt is the same, whether or not rebuilding was interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pipelines
import pytest
import tiny

from src.registry import sync as rebuilding
from src.registry.sync import sync
from src.registry.versions import CHAMPION, Registry, holder


@dataclass
class Checkout:
    """In place of a copy of the repository: a folder for every commit."""

    commits: dict[str, Path]
    folder: Path = Path()

    def switch(self, commit: str) -> None:
        self.folder = self.commits[commit]

    def fetch(self, outputs: list[str]) -> None:
        assert all((self.folder / output).exists() for output in outputs)


@pytest.fixture
def commits(registry: Registry, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An LSTM on some data, then a GRU on others, then the LSTM once more, and nothing in the working folder."""
    (root / "params.yaml").write_text("seed: 0\n", encoding="utf-8")
    monkeypatch.chdir(root)
    data = [tiny.manifest(test=3), tiny.manifest(train=11, test=3)]
    lstm = pipelines.pipeline(tmp_path / "c1", "lstm", val=0.5, data=data[0])
    gru = pipelines.pipeline(tmp_path / "c2", "gru", val=0.4, data=data[1], seed=1)
    kept = {"1" * 40: (lstm, data[0]), "2" * 40: (gru, data[1]), "3" * 40: (lstm, data[0])}

    def report(_: Path, commit: str, name: str) -> dict[str, object] | None:
        folder, manifest = kept[commit]
        if name == "dataset":
            return {"manifest": manifest.digest}
        path = folder / "reports" / f"{name}.json"
        return dict(json.loads(path.read_text())) if path.exists() else None

    @contextmanager
    def checkout() -> Iterator[Checkout]:
        yield Checkout({commit: folder for commit, (folder, _) in kept.items()})

    monkeypatch.setattr(rebuilding, "checkout", checkout)
    monkeypatch.setattr(rebuilding, "_evaluated_commits", lambda _: [*kept])
    monkeypatch.setattr(rebuilding, "_experiments", lambda _: {})
    monkeypatch.setattr(rebuilding, "_report", report)


def champion(registry: Registry) -> tuple[str, int]:
    found = holder(CHAMPION, registry.versions())
    assert found is not None
    return found.name, len(registry.versions())


def test_the_newest_data_decide_and_what_is_known_is_left_out(commits: None, registry: Registry) -> None:
    told = list(sync(registry))
    assert told[2] == "33333333: registered already"
    assert champion(registry) == ("GRU", 2)
    assert [line.rpartition(": ")[2] for line in sync(registry)][:3] == ["registered already"] * 3


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_interrupted_and_given_again_it_ends_with_the_same_champion(
    commits: None, registry: Registry, lines: int
) -> None:
    begun = sync(registry)
    for _ in range(lines):
        next(begun)
    begun.close()
    list(sync(registry))
    assert champion(registry) == ("GRU", 2)
    assert not Path("mlruns/.syncing").exists()
