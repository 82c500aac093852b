"""Rebuild the registry of a store that is gone, from what Git and DVC have kept."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from src import config, store
from src.config import Settings
from src.errors import UserError
from src.files import repository_root
from src.places import Places
from src.registry.checkout import checkout, git
from src.registry.evaluated import anything, content, evaluated
from src.registry.promotion import promote, settle
from src.registry.registration import register
from src.registry.versions import CHAMPION, Registry, holder


def sync(registry: Registry | None = None) -> Iterator[str]:
    """Register every evaluated model of the commits, the DVC experiments and the working folder, oldest first.

    What was promoted then is promoted again by today's rule. Where there is a champion, models that are found are
    registered, and one becomes champion only if it is better on the champion's data. Models whose files neither DVC's
    cache nor its remote has are named and left out.

    Yields:
        A line for each commit or folder that was looked at.
    """
    registry = registry or Registry()
    root, rule = repository_root(), config.load().promote
    # What was cut short had found no champion, though it may have left one: the order of promotions is to be the same.
    unfinished = root / "mlruns" / ".syncing"
    fresh = unfinished.exists() or holder(CHAMPION, registry.versions()) is None
    if fresh:
        unfinished.parent.mkdir(exist_ok=True)
        unfinished.touch()
    named = _experiments(root)
    entered: set[tuple[str, str]] = set()

    def enter(settings: Settings, places: Places, **origin: str) -> str:
        if fresh:
            verdict = promote(settings, places, registry, **origin)
            return f"version {verdict['version']}, {verdict['reasons'][0]}"
        with store.deciding():
            return ", ".join(str(register(model, registry, **origin)) for model in evaluated(settings, places))

    with checkout() as copy:
        for commit in _evaluated_commits(root):
            label = f"{commit[:8]}{f' ({named[commit]})' if commit in named else ''}"
            held = _held(root, commit)
            if held and all(one in entered if fresh else registry.holding(*one) is not None for one in held):
                yield f"{label}: registered already"
                continue
            try:
                copy.switch(commit)
                outputs = ["outputs/model", "outputs/evaluation"]
                places = Places.below(copy.folder)
                if places.baseline_report.exists():
                    outputs.append("outputs/baseline")
                copy.fetch(outputs)
                settings = config.load(copy.folder / "params.yaml").model_copy(update={"promote": rule})
                origin = {"commit": commit, "experiment": named.get(commit, "")}
                yield f"{label}: {enter(settings, places, **origin)}"
                entered |= held
            except (UserError, KeyError) as error:
                yield f"{label}: left out ({error})"
    if anything(Places()):
        yield f"working folder: {enter(config.load(), Places())}"
    if not fresh:
        yield f"champion: {settle(rule, registry)['reasons'][0]}"
    unfinished.unlink(missing_ok=True)


def _evaluated_commits(root: Path) -> list[str]:
    """Commits, of branches and of experiments, that changed what was trained or evaluated; oldest first."""
    reports = ("reports/evaluation.json", "reports/train.json")
    found = git(root, "log", "--all", "--full-history", "--reverse", "--format=%H", "--", *reports)
    return [commit for commit in found.splitlines() if _report(root, commit, "evaluation") is not None]


def _held(root: Path, commit: str) -> set[tuple[str, str]]:
    """Content and data of the models that a commit evaluated."""
    dataset = str((_report(root, commit, "dataset") or {}).get("manifest"))
    reports = [_report(root, commit, name) or {} for name in ("train", "baseline")]
    return {(content(report), dataset) for report in reports if "digest" in report}


def _report(root: Path, commit: str, name: str) -> dict[str, object] | None:
    try:
        return dict(json.loads(git(root, "show", f"{commit}:reports/{name}.json")))
    except (subprocess.CalledProcessError, ValueError):
        return None


def _experiments(root: Path) -> dict[str, str]:
    """Names of DVC's experiments by commit: refs/exps/<2>/<38>/<name>."""
    lines = git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    refs = [line.split(" ", 1) for line in lines]
    return {commit: ref.rpartition("/")[2] for commit, ref in refs if ref.count("/") == 4}
