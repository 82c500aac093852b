import subprocess
from pathlib import Path

import pytest

from src import provenance


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "model.py").write_text("size = 1\n")
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -q -m first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    return tmp_path


def test_the_commit_is_named(repository: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    assert provenance.code(repository)["mlflow.source.git.commit"] == head.stdout.strip()


def test_parameters_and_results_are_not_uncommitted_code(repository: Path) -> None:
    (repository / "params.yaml").write_text("seed: 1\n")
    (repository / "report.json").write_text("{}")
    assert provenance.code(repository)["git.uncommitted_code"] == "false"


@pytest.mark.parametrize("file", ["src/model.py", "src/new.py"])
def test_changed_and_new_code_is_uncommitted(repository: Path, file: str) -> None:
    (repository / file).write_text("size = 2\n")
    assert provenance.code(repository)["git.uncommitted_code"] == "true"


def test_code_outside_git_has_no_commit(tmp_path: Path) -> None:
    assert provenance.code(tmp_path) == {}
