"""What promotions leave in the registry and in their report."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pipelines
import pytest
import tiny

from src.config import Promote, validated
from src.errors import UserError
from src.files import write_json
from src.places import Places
from src.registry.listing import show
from src.registry.promotion import promote, rollback, settle
from src.registry.rivals import captioner, rivals
from src.registry.versions import BASELINE, CHALLENGER, CHAMPION, PREVIOUS, WITHDRAWN_TAG, Registry, Version
from src.tracking import Recorded


def aliases(registry: Registry) -> dict[str, int]:
    return {alias: version.number for version in registry.versions() for alias in version.aliases}


def test_a_version_carries_what_it_is_and_where_it_comes_from(promoted: Any, registry: Registry) -> None:
    promoted("gru", 0.625, test=0.5)
    (version,) = registry.versions()

    run = registry.client.get_run(version.run_id)
    assert version.name == "GRU"
    assert version.figure("val_CIDEr") == 0.625
    assert version.figure("test_BLEU-4") == 0.25
    assert version.dataset == tiny.manifest(test=3).digest
    assert (version.tags["cell"], version.tags["encoder"], version.tags["dataset"]) == (
        "gru",
        "shufflenet_v2_x0_5",
        "sample",
    )
    assert version.tags["mlflow.source.git.commit"] == run.data.tags["mlflow.source.git.commit"]
    assert version.tags["run_id"] == run.info.run_id


def test_a_model_is_registered_once_whatever_search_it_is_evaluated_with(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.pipeline(tmp_path / "run")
    settings = pipelines.settings(folder)
    promote(settings, Places.below(folder), registry)
    other = settings.model_copy(update={"decode": settings.decode.model_copy(update={"beam_size": 1})})
    again = promote(other, Places.below(folder), registry)

    assert len(registry.versions()) == 1
    assert again["promoted"] and "champion already" in again["reasons"][0]


def test_a_baseline_asked_otherwise_is_another_version_with_its_own_figures(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.pipeline(tmp_path / "run", blip=0.5, test=0.4)
    settings, places = pipelines.settings(folder), Places.below(folder)
    report = json.loads(places.baseline_report.read_text())

    def said(identity: str, val: float) -> tuple[int, float | None]:
        write_json(places.baseline_report, report | {"identity": identity, "val_CIDEr": val})
        promote(settings, places, registry)
        version = registry.named(BASELINE)
        return version.number, version.figure("val_CIDEr")

    assert said("one", 0.5) == (1, 0.5)
    assert said("another prompt", 0.7) == (3, 0.7)
    assert said("one", 0.5) == (1, 0.5)
    assert len(registry.versions()) == 3


def test_a_version_has_the_parameters_it_was_evaluated_with_whatever_params_yaml_says_now(
    tmp_path: Path, registry: Registry
) -> None:
    folder = pipelines.pipeline(tmp_path / "run", val=0.5)
    places, made = Places.below(folder), pipelines.settings(folder)
    write_json(places.parameters, made.model_dump(mode="json", exclude={"promote", "tune"}))
    edited = validated(
        {"dataset": {"name": "flickr8k"}, "decode": {"beam_size": 9}, "promote": {"require_baseline": True}}, "edited"
    )

    verdict = promote(edited, places, registry)

    version = registry.named("1")
    kept = json.loads(registry.text(version, "registered/parameters.json"))
    assert (version.tags["dataset"], version.dataset) == ("sample", tiny.manifest(test=3).digest)
    assert kept["decode"]["beam_size"] == pipelines.SEARCH["beam_size"]
    assert "promote.require_baseline" in verdict["reasons"][0]  # the rule is today's


def test_figures_that_came_later_are_added_to_the_version(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.pipeline(tmp_path / "run", test=0.5)
    settings, places = pipelines.settings(folder), Places.below(folder)
    promote(settings, places, registry)
    write_json(places.scores, {"LSTM": {"CIDEr": 0.1, "METEOR": 0.3}})
    promote(settings, places, registry)
    write_json(places.scores, {"LSTM": {"CIDEr": 0.1, "ROUGE": 0.2}})
    promote(settings.model_copy(update={"decode": type(settings.decode)()}), places, registry)

    (version,) = registry.versions()
    assert version.figure("test_CIDEr") == 0.5
    assert version.figure("test_METEOR") == 0.3
    assert version.figure("test_ROUGE") is None


def test_a_better_model_takes_the_alias_and_the_one_before_is_kept(promoted: Any, registry: Registry) -> None:
    promoted("lstm", 0.5)
    verdict = promoted("gru", 0.6)

    assert verdict["promoted"]
    assert aliases(registry) == {CHAMPION: 2, CHALLENGER: 2, PREVIOUS: 1}
    assert registry.named("1").tags["promotion.verdict"] == "replaced by version 2"


def test_a_no_and_its_reason_are_in_the_report_and_on_the_version(promoted: Any, registry: Registry) -> None:
    promoted("lstm", 0.5)
    verdict = promoted("gru", 0.51, promote={"min_delta": 0.05})

    assert not verdict["promoted"]
    assert "at least 0.05 more is wanted" in verdict["reasons"][0]
    assert (verdict["version"], verdict["champion"]["version"], verdict["challenger"]["version"]) == (2, 1, 2)
    tags = registry.named("2").tags
    assert tags["promotion.verdict"] == "not promoted"
    assert tags["promotion.reason"] == verdict["reasons"][0]
    json.dumps(verdict, allow_nan=False)


def test_the_champion_is_held_against_blip_on_the_validation_images(promoted: Any, registry: Registry) -> None:
    verdict = promoted("lstm", 0.5, test=0.9, blip=0.75)

    assert aliases(registry) == {BASELINE: 1, CHAMPION: 2, CHALLENGER: 2}
    assert verdict["against_baseline"] == {
        "metric": "val_CIDEr",
        "champion": 0.5,
        "baseline": 0.75,
        "better": False,
    }
    assert "not better than BLIP" in registry.named(CHAMPION).tags["promotion.against_baseline"]
    assert registry.named(BASELINE).figure("test_CIDEr") == 0.9


def test_without_a_baseline_there_is_nothing_to_stand_against(promoted: Any) -> None:
    assert promoted()["against_baseline"] is None


def test_no_champion_is_named_where_blip_must_be_beaten_and_is_not(promoted: Any, registry: Registry) -> None:
    verdict = promoted("lstm", 0.5, blip=0.75, promote={"require_baseline": True})

    assert (verdict["promoted"], verdict["champion"]) == (False, None)
    with pytest.raises(UserError, match="no registered model is called 'champion'"):
        registry.named(CHAMPION)


def test_new_data_has_a_champion_of_its_own_and_says_why(promoted: Any, registry: Registry) -> None:
    promoted("lstm", 2.0)
    verdict = promoted("gru", 0.3, data=tiny.manifest(test=3, seed=7))

    assert verdict["promoted"] and "other data" in verdict["reasons"][0]
    assert aliases(registry)[PREVIOUS] == 1


def test_rolling_back_is_undone_by_no_later_promotion_but_by_rolling_back(promoted: Any, registry: Registry) -> None:
    promoted("lstm", 0.5)
    promoted("gru", 0.6)

    champion, former = rollback(registry)
    assert (champion.number, former.number) == (1, 2)
    settle(Promote(), registry)
    assert aliases(registry) == {CHAMPION: 1, PREVIOUS: 2, CHALLENGER: 2}
    assert former.withdrawn

    champion, former = rollback(registry)
    settle(Promote(), registry)
    assert aliases(registry)[CHAMPION] == champion.number == 2
    assert not champion.withdrawn and not former.withdrawn


@pytest.fixture
def killed_after_naming(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`with killed_after_naming(alias):` ends in the block's writing of that alias, just after it."""
    point = Registry.point

    @contextmanager
    def killed(fatal: str) -> Iterator[None]:
        def last(registry: Registry, alias: str, version: Version | None) -> None:
            point(registry, alias, version)
            if alias == fatal:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Registry, "point", last)
            yield

    return killed


@pytest.mark.parametrize("alias", [PREVIOUS, CHAMPION])
def test_a_promotion_that_was_cut_short_is_made_whole_by_the_next(
    promoted: Any, registry: Registry, killed_after_naming: Any, alias: str
) -> None:
    promoted("lstm", 0.5)
    with killed_after_naming(alias):
        promoted("gru", 0.6, seed=1)
    promoted("gru", 0.6, seed=1)

    former, champion = registry.versions()
    assert aliases(registry) == {CHAMPION: 2, PREVIOUS: 1, CHALLENGER: 2}
    assert champion.tags["promotion.verdict"] == "promoted"
    assert former.tags["promotion.verdict"] == "replaced by version 2"


def test_a_rollback_that_was_cut_short_does_not_withdraw_the_one_that_it_returned_to(
    promoted: Any, registry: Registry, killed_after_naming: Any
) -> None:
    promoted("lstm", 0.5)
    promoted("gru", 0.6)
    with killed_after_naming(CHAMPION):
        rollback(registry)
    with pytest.raises(UserError, match="nothing to roll back to"):
        rollback(registry)

    first, second = registry.versions()
    assert CHAMPION in first.aliases and not first.withdrawn
    assert second.withdrawn


def test_there_is_nothing_to_roll_back_to_before_a_second_champion(promoted: Any, registry: Registry) -> None:
    promoted()
    with pytest.raises(UserError, match="nothing to roll back to"):
        rollback(registry)


def test_files_of_different_models_are_not_registered_together(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.pipeline(tmp_path / "run")
    report = json.loads(Places.below(folder).training.read_text())
    write_json(Places.below(folder).training, report | {"digest": "another"})

    with pytest.raises(UserError, match="another model"):
        promote(pipelines.settings(folder), Places.below(folder), registry)
    assert registry.versions() == []


def promote_in_a_process(folder: Path) -> bool:
    os.environ["DVC_ROOT"] = str(folder.parent / "repository")
    return bool(promote(pipelines.settings(folder), Places.below(folder))["promoted"])


@pytest.mark.slow
def test_four_processes_that_promote_at_once_end_with_the_best(root: Path, tmp_path: Path) -> None:
    figures = (0.4, 0.7, 0.5, 0.6)
    folders = [pipelines.pipeline(tmp_path / str(seed), val=value, seed=seed) for seed, value in enumerate(figures)]
    twice = [*folders, *folders]
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("forkserver")) as pool:
        list(pool.map(promote_in_a_process, twice))

    registry = Registry()
    assert sorted(version.figure("val_CIDEr") for version in registry.versions()) == sorted(figures)
    assert registry.named(CHAMPION).figure("val_CIDEr") == 0.7


def test_registered_models_outlive_a_move_of_the_repository(
    promoted: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted()
    moved = root.rename(root.with_name("moved"))
    monkeypatch.setenv("DVC_ROOT", str(moved))
    registry = Registry()

    (found,) = registry.client.search_model_versions("name = 'captioner'")
    assert found.source.startswith((moved / "mlruns").as_uri())
    assert registry.captioner(CHAMPION).name == "LSTM"


def test_rivals_are_the_best_of_each_other_cell_on_the_same_data(
    promoted: Any, registry: Registry, tmp_path: Path
) -> None:
    data, unseen = tiny.manifest(test=3), tiny.manifest(test=3, seed=8)
    data.save(tmp_path / "data")
    unseen.save(tmp_path / "unseen")
    promoted("lstm", 0.9)
    promoted("gru", 0.5)
    promoted("gru", 0.6)
    promoted("gru", 0.8, data=tiny.manifest(test=3, seed=7))

    found = rivals(tmp_path / "data", "LSTM", registry=registry)

    assert found.keys() == {"GRU"}
    assert found["GRU"].origin["version"] == 3
    assert found["GRU"].captions == {image.name: f"GRU {image.filename}" for image in data.split("test")}
    assert rivals(tmp_path / "unseen", "LSTM", registry=registry) == {}

    registry.tag(registry.named("3"), {WITHDRAWN_TAG: "today"})
    assert rivals(tmp_path / "data", "LSTM", registry=registry)["GRU"].origin["version"] == 2
    registry.tag(registry.named("2"), {WITHDRAWN_TAG: "today"})
    assert rivals(tmp_path / "data", "LSTM", registry=registry)["GRU"].origin["version"] == 3


def test_a_rival_can_be_asked_again_as_long_as_its_version_is_there(
    promoted: Any, registry: Registry, tmp_path: Path
) -> None:
    tiny.manifest(test=3).save(tmp_path / "data")
    promoted("lstm", 0.9)
    promoted("gru", 0.5)
    origin = rivals(tmp_path / "data", "LSTM", registry=registry)["GRU"].origin

    asked = captioner(origin, registry)

    assert asked is not None and (asked.name, asked.digest()) == ("GRU", origin["digest"])
    assert captioner({**origin, "digest": "another"}, registry) is None
    assert captioner({**origin, "version": 99}, registry) is None
    assert captioner({}, registry) is None


def test_the_table_fits_a_hundred_columns(promoted: Any, registry: Registry, capsys: pytest.CaptureFixture) -> None:
    promoted("lstm", 0.5, blip=0.75)
    promoted("gru", 0.6)
    capsys.readouterr()

    show(registry.versions(), "val_CIDEr")

    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    for word in ("champion", "previous", "baseline", "shufflenet_v2_x0_5", "sample", "0.600", "BLEU-4"):
        assert word in printed


def test_the_card_is_the_description_and_lies_with_the_model(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.pipeline(tmp_path / "run", test=0.4)
    write_json(Places.below(folder).comparison, {"intervals": {"LSTM": {"CIDEr": [0.35, 0.45]}}})
    promote(pipelines.settings(folder), Places.below(folder), registry)

    version = registry.named(CHAMPION)
    text = registry.text(version, "registered/README.md")
    assert "| test | CIDEr | 0.4000 | 0.3500 to 0.4500 |" in text
    assert version.tags["mlflow.source.git.commit"] in text
    assert registry.client.get_model_version("captioner", "1").description == text


def test_the_card_of_a_baseline_that_is_no_blip_does_not_call_it_one(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.pipeline(tmp_path / "run", blip=0.5)
    places = Places.below(folder)
    report = json.loads(places.baseline_report.read_text())
    write_json(places.baseline_report, report | {"architecture": "git", "checkpoint": "microsoft/git-base"})
    promote(pipelines.settings(folder), places, registry)

    version = registry.named(BASELINE)
    assert (version.tags["cell"], version.tags["encoder"]) == ("git", "git-base")
    assert "A git model in BLIP's place, checkpoint `git-base`" in registry.text(version, "registered/README.md")


def test_a_store_without_the_models_run_gets_its_evaluation(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.pipeline(tmp_path / "run", test=0.25)
    promote(pipelines.settings(folder), Places.below(folder), registry)

    run = registry.client.get_run(registry.named(CHAMPION).run_id)
    assert run.data.metrics["test_CIDEr"] == 0.25
    assert json.loads(registry.text(registry.named(CHAMPION), "evaluation/eval-metrics.json"))["models"].keys() == {
        "LSTM"
    }


def test_a_registration_that_was_cut_short_gets_the_rest_of_its_evaluation(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pipelines.pipeline(tmp_path / "run")
    settings, places = pipelines.settings(folder), Places.below(folder)
    artifact = Recorded.artifact

    def last(run: Recorded, path: Path, folder: str = "") -> None:
        artifact(run, path, folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(Recorded, "artifact", last)
        promote(settings, places, registry)
    promote(settings, places, registry)

    kept = registry.client.list_artifacts(registry.named(CHAMPION).run_id, "evaluation")
    assert [Path(file.path).name for file in kept] == ["eval-metrics.json", "evaluation.json"]
