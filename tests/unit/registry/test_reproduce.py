"""What counts as the same when a version is trained again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pipelines
import pytest

from src.config import Settings
from src.places import Places
from src.registry.evaluated import Evaluated, evaluated
from src.registry.reproduce import compare, overlaid, show
from src.registry.versions import Version

MACHINE = {"cpu": "Some CPU, 2 threads, 8 GiB", "gpu": "none", "torch": "2.14.1", "threads": "1"}
OTHER = MACHINE | {"cpu": "Another CPU, 2 threads, 8 GiB"}


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = pipelines.pipeline(tmp_path_factory.mktemp("run"), val=0.5, test=0.4)
    return evaluated(pipelines.settings(folder), Places.below(folder))[-1]


def version(again: Evaluated, **tags: str) -> Version:
    return Version(
        1, again.name, again.digest, again.dataset, "run", again.tags | MACHINE | tags, frozenset(), datetime.now(UTC)
    )


def differing(version: Version, again: Evaluated, here: dict[str, str] = MACHINE, **tolerance: Any) -> set[str]:
    return {row.what for row in compare(version, again, tolerance.get("tolerance", 0.02), here) if row.same is False}


def test_the_same_is_the_same(again: Evaluated, capsys: pytest.CaptureFixture) -> None:
    assert differing(version(again), again) == set()
    assert show(compare(version(again), again, 0.02, MACHINE))
    assert "val_CIDEr" in capsys.readouterr().out


def test_other_weights_data_or_figures_are_told_apart(again: Evaluated, capsys: pytest.CaptureFixture) -> None:
    registered = version(again)

    assert differing(replace(registered, digest="other"), again) == {"weights"}
    assert differing(replace(registered, dataset="other"), again) == {"data"}
    assert differing(version(again, val_CIDEr="0.501"), again) == {"val_CIDEr"}
    assert differing(version(again, test_CIDEr="0.2"), again) == {"test_CIDEr"}
    assert not show(compare(version(again, val_CIDEr="0.501"), again, 0.02, MACHINE))
    assert "Different: val_CIDEr" in capsys.readouterr().out


def test_a_figure_that_one_side_has_not_measured_is_no_difference(
    again: Evaluated, capsys: pytest.CaptureFixture
) -> None:
    added = version(again, test_METEOR="0.2")  # by a later evaluation: the version's own parameters do not name it
    dropped = replace(added, tags={name: value for name, value in added.tags.items() if name != "test_BLEU-4"})

    assert differing(dropped, again) == set()
    assert show(compare(dropped, again, 0.02, MACHINE))
    printed = capsys.readouterr().out
    assert printed.count("not measured") == 2
    assert "It is the same model." in printed


def test_another_kind_of_processor_rounds_otherwise(again: Evaluated) -> None:
    registered = replace(version(again, val_CIDEr="0.51"), digest="other")

    assert differing(registered, again, OTHER) == set()
    assert differing(version(again, val_CIDEr="0.53"), again, OTHER) == {"val_CIDEr"}


def test_weights_that_are_the_same_are_so_on_every_processor(again: Evaluated) -> None:
    (weights,) = (row for row in compare(version(again), again, 0.02, OTHER) if row.what.startswith("weights"))

    assert weights.same is True


def test_threads_are_taken_over_from_the_version_and_excuse_nothing(again: Evaluated) -> None:
    many = MACHINE | {"threads": "64"}

    assert differing(replace(version(again), digest="other"), again, many) == {"weights"}


def test_more_memory_is_no_other_processor(again: Evaluated) -> None:
    bigger = MACHINE | {"cpu": "Some CPU, 2 threads, 64 GiB"}

    assert differing(replace(version(again), digest="other"), again, bigger) == {"weights"}


def test_a_commit_is_told_no_parameter_that_has_come_since() -> None:
    own = {"seed": 0, "decode": {"beam_size": 3}, "tune": {"space": {"train": {"epochs": [1, 2]}}}}
    chosen = {"seed": 7, "decode": {"beam_size": 4, "max_words": 9}, "embed": {"encoder": "densenet121"}}
    version = Settings.model_validate(chosen)

    written = overlaid(own, version.model_dump(mode="json"), version.model_dump(mode="json", exclude_defaults=True))

    assert written == own | chosen
