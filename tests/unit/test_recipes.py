"""Recipes ask for parameters that exist, with values that they take."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from src import config
from src.tune.suggestions import changed

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.sh"))


def asked(recipe: Path, folder: Path, *more: str, **environment: str) -> list[str]:
    """What the recipe would call DVC with."""
    dvc = folder / "dvc"
    dvc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    dvc.chmod(0o755)
    around = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"} | environment
    done = subprocess.run(["bash", str(recipe), *more], env=around, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def overrides(arguments: list[str]) -> dict[str, object]:
    pairs = [text.partition("=") for flag, text in pairwise(arguments) if flag == "-S"]
    return {key: yaml.safe_load(value) for key, _, value in pairs}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_is_an_experiment_with_valid_parameters(recipe, tmp_path):
    arguments = asked(recipe, tmp_path)
    assert arguments[:2] == ["exp", "run"]
    found = changed(config.load(), overrides(arguments), recipe.name)
    assert found != config.load()


def test_what_is_added_to_a_recipe_comes_last(tmp_path):
    arguments = asked(RECIPES[0], tmp_path, "-S", "model.rnn=gru", INCEPTION="/a file.safetensors")
    assert arguments[-2:] == ["-S", "model.rnn=gru"]
    assert overrides(arguments)["embed.weights"] == "default+/a file.safetensors"


def test_weights_are_named_from_where_the_recipe_was_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = asked(RECIPES[0], tmp_path, INCEPTION="weights.safetensors")
    assert overrides(arguments)["embed.weights"] == f"default+{tmp_path.resolve()}/weights.safetensors"
