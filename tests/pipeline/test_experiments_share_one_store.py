"""Wherever DVC runs an experiment, its MLflow run lands in the repository the experiment was started from."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src import store

PROJECT = Path(__file__).parents[2]

STAGE = """\
import os
from pathlib import Path
import yaml
from src import tracking
from src.config import Settings

rate = yaml.safe_load(Path("params.yaml").read_text())["rate"]
with tracking.run("train", name="LSTM", settings=Settings(), curves=Path("reports/curves.csv")) as run:
    run.log(1, {"rate": rate})
    run.tag("folder", os.getcwd())
Path("model").write_text(run.id)
"""

PIPELINE = """\
stages:
  train:
    cmd: python -m stages.train
    params: [rate]
    outs: [model]
    plots:
      - reports/curves.csv: {cache: false, x: step, y: rate}
"""

Command = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one stage that uses the project's own code and records the parameter it ran with."""
    root = tmp_path / "repository"
    shutil.copytree(PROJECT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "stages").mkdir()
    (root / "stages" / "__init__.py").touch()
    (root / "stages" / "train.py").write_text(STAGE)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "params.yaml").write_text("rate: 1\n")
    (root / ".gitignore").write_text("mlruns/\n__pycache__/\n")
    return root


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Command:
    """Runs a command in the repository, with this interpreter as `python` and DVC's own folders kept to the test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    environment |= {name: str(tmp_path / "site") for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR")}
    environment |= {"DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for person in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{person}_NAME": "Ann", f"GIT_{person}_EMAIL": "ann@example.org"}

    def run(*command: str) -> str:
        answer = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=900)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    return run


def runs_by_rate(repository: Path, monkeypatch: pytest.MonkeyPatch) -> dict[float, Any]:
    monkeypatch.setenv("DVC_ROOT", str(repository))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = store.connect()
    return {run.data.metrics["rate"]: run for run in client.search_runs([store.experiment_id(client)])}


@pytest.mark.slow
def test_experiments_share_one_store(repository: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    run("git", "init", "--quiet")
    run("dvc", "init", "--quiet")
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "begin")
    baseline = run("git", "rev-parse", "HEAD").strip()

    run("dvc", "exp", "run", "--name", "here", "--set-param", "rate=2")
    run("dvc", "exp", "run", "--temp", "--name", "aside", "--set-param", "rate=3")
    run("dvc", "exp", "run", "--queue", "--name", "later", "--set-param", "rate=4")
    run("dvc", "exp", "run", "--run-all")

    runs = runs_by_rate(repository, monkeypatch)
    assert {rate: run.info.run_name for rate, run in runs.items()} == {
        2.0: "LSTM (here)",
        3.0: "LSTM (aside)",
        4.0: "LSTM (later)",
    }
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {run.data.tags["mlflow.source.git.commit"] for run in runs.values()} == {baseline}
    assert {Path(run.data.tags["folder"]) == repository for run in (runs[3.0], runs[4.0])} == {False}
    assert run("dvc", "exp", "show", "--csv").count("branch") == 3
