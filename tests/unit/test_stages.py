"""The stages as commands: they begin quickly, and DVC knows the code that decides what they leave."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
SECONDS_EACH = {"mlflow", "nltk", "pandas", "scipy", "sklearn", "torch._dynamo", "torchvision", "transformers"}
"""Modules that take that long to import: those who need one import it where they do."""

DECIDES_NOTHING = {
    *("src/config.py", "src/section.py", "src/search_space.py"),  # parameters, which dvc.yaml names one by one
    *("src/contenders.py", "src/errors.py", "src/files.py", "src/hub.py", "src/places.py"),  # names, words, transport
    *("src/ahead.py", "src/heap.py", "src/parent.py", "src/portions.py", "src/processes.py"),  # who computes, not what
    *("src/curves.py", "src/provenance.py", "src/run_page.py", "src/store.py", "src/tracking.py"),  # records
    *("src/data/manifest.py", "src/data/reading.py"),  # what `prepare` wrote, which depends on them
    *("src/training/recovery.py", "src/training/resume.py", "src/training/stopping.py"),  # to the same weights, always
    *("src/training/resources.py", "src/unfinished.py"),
}
"""Modules that change nothing of what stages leave, unless they break it."""
UNUSED = {
    # `cross_entropy` and `digest` are all that BLIP takes of what recurrent models are made of.
    "baseline": {
        *("src/decoding", "src/encoders", "src/training/graphs.py", "src/data/sentence.py"),
        *("src/models/attention.py", "src/models/cells.py", "src/models/decoder.py", "src/models/ensemble.py"),
        *("src/models/expectation.py", "src/models/fusion.py", "src/models/memory.py", "src/models/onepass.py"),
        "src/models/recurrence.py",
    },
    "distill": {"src/encoders", "src/metrics", "src/training"},  # nothing is trained
    "train": {"src/data/sentence.py"},  # examples for MLflow
    # The registry is no input that DVC knows; captions are scored as they are, not as sentences.
    "evaluate": {"src/data/sentence.py", "src/registry", "src/training/report.py"},
    "visualize": {"src/registry", "src/training/report.py"},
    "promote": {  # digests
        *("src/data", "src/encoders", "src/metrics/cider.py", "src/models", "src/precision.py"),
        "src/training/report.py",
    },
}
"""Modules that a stage imports with others, and that decide nothing there."""


@pytest.mark.parametrize("command", [*(f"stages.{name}" for name in STAGES), "src.caption"])
def test_a_command_imports_what_takes_long_only_where_it_is_needed(command):
    look = f"import sys, {command}; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", look], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert not SECONDS_EACH.intersection(imported.stdout.split())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_again_when_code_changes_that_decides_what_it_leaves(stage):
    held = {*STAGES[stage]["deps"], *DECIDES_NOTHING, *UNUSED.get(stage, ())}
    used = {path.relative_to(PROJECT) for path in reached(PROJECT / "stages" / f"{stage}.py")}
    assert not sorted(str(path) for path in used if held.isdisjoint(map(str, (path, *path.parents))))


def reached(script: Path) -> set[Path]:
    """The script and all modules of this project that it imports, and those that they import."""
    found, waiting = set(), [script]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [file for name in imports(path) if (file := PROJECT / f"{name.replace('.', '/')}.py").exists()]
    return found


def imports(path: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found
