"""`python -m src.registry ...` and `python -m src.caption --alias`, as a person types them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pipelines
import pytest

from src.caption import main as caption
from src.files import write_json
from src.places import Places
from src.registry.__main__ import main
from src.registry.versions import Registry

Command = Callable[[Sequence[str]], None]


@pytest.fixture(autouse=True)
def workspace(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository itself, where nothing was trained yet."""
    root.mkdir(exist_ok=True)
    monkeypatch.chdir(root)
    (root / "params.yaml").write_text("seed: 0\n")
    return root


def failing(capsys: pytest.CaptureFixture, *arguments: str, command: Command = main, status: int = 2) -> str:
    with pytest.raises(SystemExit) as ended:
        command(arguments)
    assert ended.value.code == status
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_an_empty_registry_says_how_to_fill_it(capsys: pytest.CaptureFixture) -> None:
    listed = failing(capsys, "list", status=1)
    assert "dvc repro" in listed and "python -m src.registry sync" in listed
    assert "train and evaluate one" in failing(capsys, "promote")
    assert "nothing to roll back to" in failing(capsys, "rollback")
    assert "no registered model is called '7'" in failing(capsys, "reproduce", "7")


def test_who_only_looks_at_a_store_that_is_not_there_makes_none_and_learns_how_to_rebuild_it(
    workspace: Path, capsys: pytest.CaptureFixture
) -> None:
    pipelines.photograph().save(workspace / "photo.png")

    failing(capsys, "list", status=1)
    said = failing(capsys, "photo.png", "--alias", "champion", command=caption)

    assert "no registered model is called 'champion'" in said and "python -m src.registry sync" in said
    assert not (workspace / "mlruns").exists()
    failing(capsys, "rollback")
    failing(capsys, "promote")
    assert not list(workspace.glob("mlruns/*.db"))


def test_a_store_without_a_model_is_as_empty_as_none(registry: Registry, capsys: pytest.CaptureFixture) -> None:
    assert "no model is registered" in failing(capsys, "list", status=1)


def test_what_was_evaluated_here_is_promoted_by_hand(workspace: Path, capsys: pytest.CaptureFixture) -> None:
    pipelines.pipeline(workspace, "gru", 0.5)

    main(["promote"])
    main(["list"])

    printed = capsys.readouterr().out
    assert "version 1 (GRU) has val_CIDEr 0.5000: the first champion" in printed
    assert "champion" in printed[printed.index("Registered captioners") :]
    assert not (workspace / "reports" / "promotion.json").exists()


def test_a_promotion_by_hand_says_where_params_yaml_is_no_longer_what_was_evaluated(
    workspace: Path, capsys: pytest.CaptureFixture
) -> None:
    pipelines.pipeline(workspace, "gru", 0.5)
    made = pipelines.settings(workspace)
    write_json(Places.below(workspace).parameters, made.model_dump(mode="json", exclude={"promote", "tune"}))
    main(["promote"])
    assert "note" not in capsys.readouterr().out

    (workspace / "params.yaml").write_text("{model: {rnn: gru}, dataset: {name: flickr8k}, decode: {beam_size: 9}}")
    main(["promote"])

    printed = capsys.readouterr().out
    assert "made with dataset.name = sample (now flickr8k), decode.beam_size = 3 (now 9)" in printed
    assert "version 1 (GRU) is the champion already" in printed


def test_a_rollback_is_one_command(promoted: Any, registry: Registry, capsys: pytest.CaptureFixture) -> None:
    promoted("lstm", 0.5)
    promoted("gru", 0.6)

    main(["rollback"])

    assert "champion: version 1 (LSTM)" in capsys.readouterr().out
    assert registry.named("champion").number == 1


def test_pictures_are_captioned_by_alias_or_number(
    promoted: Any, workspace: Path, capsys: pytest.CaptureFixture
) -> None:
    promoted("lstm", 0.5)
    promoted("gru", 0.6, blip=0.7)
    pipelines.photograph().save(workspace / "photo.png")
    capsys.readouterr()

    caption(["photo.png", "--alias", "champion"])
    by_alias = capsys.readouterr().out
    caption(["photo.png", "--alias", "3"])

    assert by_alias.strip() and by_alias == capsys.readouterr().out
    with pytest.raises(SystemExit):
        caption(["photo.png", "--alias", "baseline"])
    assert "is no LSTM or GRU" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        caption(["photo.png", "--alias", "nobody"])
    assert "aliases: baseline, challenger, champion, previous" in capsys.readouterr().err
