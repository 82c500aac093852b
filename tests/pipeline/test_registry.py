"""Registered models in a real repository: found again when the store is gone, and trained again from their commit."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from mlflow import MlflowClient
from test_pipeline import Repository, pytestmark, repository

__all__ = ["pytestmark", "repository"]


def registered(repository: Repository) -> dict[str, dict[str, str]]:
    """Tags of each version by the model's name, with its aliases."""
    client = MlflowClient(f"sqlite:///{repository.folder}/mlruns/mlflow.db")
    aliases: dict[str, str] = {}
    for alias, number in sorted(client.get_registered_model("captioner").aliases.items()):
        aliases[str(number)] = " ".join(filter(None, [aliases.get(str(number)), alias]))
    found = client.search_model_versions("name = 'captioner'")
    return {one.tags["model"]: one.tags | {"aliases": aliases.get(str(one.version), "")} for one in found}


def evaluated_beside(repository: Repository, run_id: str) -> set[str]:
    """Models in the table of a run's evaluation."""
    client = MlflowClient(f"sqlite:///{repository.folder}/mlruns/mlflow.db")
    text = Path(client.download_artifacts(run_id, "evaluation/evaluation.json")).read_text(encoding="utf-8")
    return set(json.loads(text))


def test_a_pipeline_run_ends_with_a_registered_champion(repository: Repository) -> None:
    version = registered(repository)["LSTM"]
    report = repository.json("reports/promotion.json")

    assert version["aliases"] == "challenger champion"
    assert version["digest"] == repository.json("reports/train.json")["digest"]
    assert version["git.uncommitted_code"] == "false"
    assert (report["promoted"], report["champion"]["digest"]) == (True, version["digest"])
    assert repository.run("git", "status", "--porcelain") == ""


def test_a_photograph_is_captioned_with_the_champion(repository: Repository) -> None:
    picture = str(next((repository.folder / "outputs" / "figures").rglob("*.png")))

    printed = repository.run(sys.executable, "-m", "src.caption", picture, "--alias", "champion")

    assert printed.strip() == repository.run(sys.executable, "-m", "src.caption", picture).strip()


def test_a_version_is_trained_again_to_the_same_weights_beside_the_store(repository: Repository) -> None:
    before = len(repository.mlflow_runs())

    printed = repository.run(sys.executable, "-m", "src.registry", "reproduce", "champion")

    table = printed[printed.index("Reproduced") :]
    assert "val_CIDEr" in table and "test_METEOR" in table and "weights" in table
    assert "differs" not in table and "another kind of processor" not in table
    assert len(repository.mlflow_runs()) == before
    assert repository.run("git", "status", "--porcelain") == ""


def test_a_lost_store_is_rebuilt_from_commits_and_experiments(repository: Repository) -> None:
    repository.run("dvc", "exp", "run", "--temp", "--name", "other-cell", "-S", "model.rnn=gru")
    before = registered(repository)
    assert before["GRU"]["dvc.experiment"] == "other-cell"
    assert evaluated_beside(repository, before["GRU"]["run_id"]) == {"LSTM", "GRU"}
    shutil.rmtree(repository.folder / "mlruns")

    printed = repository.run(sys.executable, "-m", "src.registry", "sync")

    after = registered(repository)
    assert after.keys() == before.keys() == {"LSTM", "GRU"}, printed
    for name in after:
        kept = ("aliases", "digest", "dataset.digest", "val_CIDEr", "test_CIDEr")
        assert {key: after[name][key] for key in kept} == {key: before[name][key] for key in kept}, printed
    assert after["GRU"]["dvc.experiment"] == "other-cell"
    again = repository.run(sys.executable, "-m", "src.registry", "sync")
    assert "left out" not in again and again.count("registered already") >= 2
    assert "other-cell" in repository.run(sys.executable, "-m", "src.registry", "list")
