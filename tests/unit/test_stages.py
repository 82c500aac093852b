"""The stages as commands: they begin quickly."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SECONDS_EACH = {"mlflow", "nltk", "pandas", "scipy", "sklearn", "torch._dynamo", "torchvision", "transformers"}
"""Modules that take that long to import: those who need one import it where they do."""


@pytest.mark.parametrize(
    "command", [*(f"stages.{file.stem}" for file in sorted((PROJECT / "stages").glob("[a-z]*.py"))), "src.caption"]
)
def test_a_command_imports_what_takes_long_only_where_it_is_needed(command):
    look = f"import sys, {command}; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", look], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert not SECONDS_EACH.intersection(imported.stdout.split())
