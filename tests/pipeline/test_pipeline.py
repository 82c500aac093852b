"""The whole pipeline, as a person runs it, in a repository of its own with a small sample and a small model; the models
it registers are found again when the store is gone, and trained again from their commit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]
POOL = "MLFLOW_SQLALCHEMYSTORE_POOLCLASS"
SMALL = {
    "embed": {"encoder": "mobilenet_v3_small", "weights": "random", "image_size": 64},
    "model": {"rnn": "lstm", "hidden_size": 32, "embedding_size": 16, "attention_size": 16},
    "train": {"epochs": 2, "batch_images": 16},
    "decode": {"beam_size": 2},
    "baseline": {"finetune_epochs": 1, "tiny": {"image_size": 32, "hidden_size": 32, "vision_layers": 1}},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> str:
        """What a command printed; fails the test when the command does."""
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", POOL):
            environment.pop(name, None)
        done = subprocess.run(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def json(self, path: str) -> dict:
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def mlflow_runs(self) -> list:
        client = MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


@pytest.fixture(scope="module")
def looking_at_files() -> Iterator[None]:
    """Tests read the store that is there now: a connection kept open would go on reading one that was deleted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(POOL, "NullPool")
        yield


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, looking_at_files: None) -> Repository:
    """A committed copy of this working tree, with sixty scenes and small parameters, and one `dvc repro` behind it."""
    folder = tmp_path_factory.mktemp("captionlab")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if name.startswith(("tests/", "dvc-remote/", "reports/", "data.dvc", "dvc.lock")) or not (ROOT / name).exists():
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    parameters = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        parameters[section] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    made = Repository(folder)
    made.run(sys.executable, "-m", "src.data.sample", "--count", "60")
    made.run("git", "init", "--quiet")
    made.run("git", "config", "user.email", "tests@captionlab.example")
    made.run("git", "config", "user.name", "tests")
    made.run("dvc", "add", "--quiet", "data")
    made.run("git", "add", "--all")
    made.run("git", "commit", "--quiet", "--message", "a small laboratory")
    made.run("dvc", "repro")
    made.run("git", "add", "--all")
    made.run("git", "commit", "--quiet", "--message", "the first model")
    return made


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


def test_every_test_image_has_a_caption_and_figures(repository: Repository) -> None:
    figures = repository.json("reports/evaluation.json")["LSTM"]
    details = repository.json("outputs/evaluation/eval-metrics.json")["models"]["LSTM"]
    images = repository.json("reports/dataset.json")["images"]

    assert {"BLEU-1", "BLEU-4", "CIDEr", "METEOR", "ROUGE", "semantic_similarity", "BERTScore"} <= figures.keys()
    assert details["overall_metrics"]["CIDEr"] == figures["CIDEr"]
    assert len(details["test_images"]) == images["test"]
    assert all(image["actual_captions"] and image["image_embedding"] for image in details["test_images"])


def test_every_figure_has_its_interval_and_one_key_whatever_the_cell(repository: Repository) -> None:
    own = repository.json("reports/test.json")
    intervals = repository.json("reports/comparison.json")["intervals"]["LSTM"]

    assert own.keys() == intervals.keys()
    assert all(intervals[name][0] <= own[name] <= intervals[name][1] for name in ("CIDEr", "ROUGE", "BERTScore"))
    assert "reports/test.json" in repository.run("dvc", "metrics", "show")


def test_the_training_run_carries_the_test_figures_and_the_model(repository: Repository) -> None:
    client = MlflowClient(f"sqlite:///{repository.folder}/mlruns/mlflow.db")
    run = client.get_run(repository.json("reports/train.json")["run_id"])

    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_CIDEr"] == repository.json("reports/evaluation.json")["LSTM"]["CIDEr"]
    assert run.data.params["model.rnn"] == "lstm"
    assert len(client.get_metric_history(run.info.run_id, "val_CIDEr")) == 2
    assert {"model", "evaluation", "figures"} <= {file.path for file in client.list_artifacts(run.info.run_id)}


def test_a_second_repro_runs_nothing(repository: Repository) -> None:
    printed = repository.run("dvc", "repro")

    assert "Running stage" not in printed
    assert "Data and pipelines are up to date" in printed


def test_a_finished_run_leaves_no_state_behind(repository: Repository) -> None:
    resume = repository.folder / "mlruns" / "resume"

    assert not [path for path in resume.rglob("*") if path.is_file() and not path.name.endswith(".lock")]


def test_a_pipeline_run_ends_with_a_registered_champion(repository: Repository) -> None:
    version = registered(repository)["LSTM"]
    report = repository.json("reports/promotion.json")

    assert version["aliases"] == "challenger champion"
    assert version["digest"] == repository.json("reports/train.json")["digest"]
    assert version["git.uncommitted_code"] == "false"
    assert registered(repository)["BLIP"]["aliases"] == "baseline"
    assert report["against_baseline"]["baseline"] == repository.json("reports/baseline.json")["val_CIDEr"]
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


def test_the_other_cell_uses_the_same_features_in_the_same_store_from_a_folder_of_its_own(
    repository: Repository,
) -> None:
    before = len(repository.mlflow_runs())

    printed = repository.run("dvc", "exp", "run", "--temp", "--name", "other-cell", "-S", "model.rnn=gru")

    assert "Running stage 'train'" in printed
    assert "Running stage 'embed'" not in printed
    runs = repository.mlflow_runs()
    assert len(runs) == before + 1
    assert {run.data.params["model.rnn"] for run in runs} == {"lstm", "gru"}
    shown = repository.run("dvc", "exp", "show", "--csv")
    assert "gru" in shown


def test_a_lost_store_is_rebuilt_from_commits_and_experiments(repository: Repository) -> None:
    before = registered(repository)
    assert before["GRU"]["dvc.experiment"] == "other-cell"
    assert evaluated_beside(repository, before["GRU"]["run_id"]) == {"LSTM", "GRU", "BLIP"}
    shutil.rmtree(repository.folder / "mlruns")

    printed = repository.run(sys.executable, "-m", "src.registry", "sync")

    after = registered(repository)
    assert after.keys() == before.keys() == {"LSTM", "GRU", "BLIP"}, printed
    for name in after:
        kept = ("aliases", "digest", "dataset.digest", "val_CIDEr", "test_CIDEr")
        assert {key: after[name][key] for key in kept} == {key: before[name][key] for key in kept}, printed
    assert after["GRU"]["dvc.experiment"] == "other-cell"
    again = repository.run(sys.executable, "-m", "src.registry", "sync")
    assert "left out" not in again and again.count("registered already") >= 2
    assert "other-cell" in repository.run(sys.executable, "-m", "src.registry", "list")


def test_search_settings_alone_do_not_train_again(repository: Repository) -> None:
    printed = repository.run("dvc", "repro", "--dry", "evaluate")
    assert "up to date" in printed or "didn't change" in printed

    parameters = repository.folder / "params.yaml"
    kept = parameters.read_text(encoding="utf-8")
    parameters.write_text(kept.replace("beam_size: 2", "beam_size: 1"), encoding="utf-8")
    printed = repository.run("dvc", "repro", "--dry")
    parameters.write_text(kept, encoding="utf-8")

    assert "Running stage 'evaluate'" in printed
    assert "Running stage 'train'" not in printed


def main_job(repository: Repository) -> str:
    """`make repro` where packages are installed already; it must end with all models in one table and a champion."""
    printed = repository.run("make", "--old-file", ".venv/.complete", "repro")
    assert {"LSTM", "GRU", "BLIP"} == repository.json("reports/evaluation.json").keys(), printed
    champion = repository.json("reports/promotion.json")["champion"]
    named = MlflowClient(f"sqlite:///{repository.folder}/mlruns/mlflow.db").get_model_version_by_alias(
        "captioner", "champion"
    )
    assert (champion["version"], champion["digest"]) == (int(named.version), named.tags["digest"]), printed
    return printed


@needs_make
def test_the_main_job_trains_both_cells_with_edited_parameters_and_rebuilds_a_lost_store_without_training(
    repository: Repository,
) -> None:
    parameters = yaml.safe_load((repository.folder / "params.yaml").read_text(encoding="utf-8"))
    parameters["model"]["hidden_size"] = 24
    (repository.folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")

    main_job(repository)

    trained = [run for run in repository.mlflow_runs() if run.data.tags["kind"] == "train"]
    edited = {run.data.params["model.rnn"] for run in trained if run.data.params["model.hidden_size"] == "24"}
    assert edited == {"lstm", "gru"}

    shutil.rmtree(repository.folder / "mlruns")
    repository.run(sys.executable, "-c", "from src import store; store.connect()")  # as training that was ended at once

    printed = main_job(repository)

    assert "Running stage 'train'" not in printed
    assert registered(repository).keys() == {"LSTM", "GRU", "BLIP"}
