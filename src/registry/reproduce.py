"""Train a registered model again from its commit, its data and its parameters, and compare."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from src import provenance
from src.config import validated
from src.errors import UserError
from src.places import Places
from src.registry.checkout import checkout, git
from src.registry.evaluated import Evaluated, evaluated
from src.registry.registration import COMMIT_TAG, PARAMETERS_FILE, UNCOMMITTED_TAG
from src.registry.versions import FOLDER, Registry, Version

EXACT = 1e-6
"""How far figures may differ on the same kind of processor: not beyond what text loses."""
MACHINE = ("cpu", "gpu", "torch")
"""What decides how sums are rounded, beside the number of threads, which a reproduction takes over."""


@dataclass(frozen=True)
class Row:
    """One thing that was registered, what it became, and whether that is the same; None where that is not asked."""

    what: str
    registered: str
    reproduced: str
    same: bool | None


def reproduce(reference: str, tolerance: float, registry: Registry | None = None) -> list[Row]:
    """Run the pipeline of a version up to its evaluation, in a folder of its own, with nothing from a cache but data.

    The MLflow store and the working folder stay as they are.

    Args:
        tolerance: how far figures may differ on another kind of processor, where sums are rounded otherwise.

    Raises:
        UserError: no such version, or its commit, data or parameters are gone, or its pipeline fails.
    """
    registry = registry or Registry()
    version = registry.named(reference)
    commit = version.tags.get(COMMIT_TAG)
    if not commit:
        raise UserError(f"{version} was trained outside Git: no commit is recorded for it")
    if version.tags.get(UNCOMMITTED_TAG) == "true":
        print(f"note: {version} was trained with code that {commit[:8]} does not have; differences may come from there")
    parameters = json.loads(registry.text(version, f"{FOLDER}/{PARAMETERS_FILE}"))
    settings = validated(parameters, f"the parameters of {version}")
    with checkout() as copy:
        copy.switch(commit)
        file = copy.folder / "params.yaml"
        chosen = settings.model_dump(mode="json", exclude_defaults=True, exclude={"tune"})
        own = {name: section for name, section in parameters.items() if name != "tune"}  # a search makes no model
        written = overlaid(yaml.safe_load(file.read_text(encoding="utf-8")), own, chosen)
        file.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
        if data := git(copy.folder, "ls-files", "*.dvc").splitlines():
            copy.fetch(data)
        threads = {"OMP_NUM_THREADS": version.tags["threads"]} if "threads" in version.tags else {}
        try:
            copy.dvc("repro", "--force", "evaluate", shown=True, **threads)
        except subprocess.CalledProcessError as error:
            raise UserError(f"the pipeline of {commit[:8]} ends with status {error.returncode}: see above") from None
        models = {model.name: model for model in evaluated(settings, Places.below(copy.folder))}
    if version.name not in models:
        raise UserError(f"the pipeline of {commit[:8]} has evaluated no {version.name}")
    return compare(version, models[version.name], tolerance, _here())


def overlaid(own: Mapping[str, Any], parameters: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A commit's own parameters with a version's values; keys that have come since, which its code would refuse, are
    left out.

    Args:
        own: what stands in the commit's params.yaml.
        parameters: the version's, with a default for every key that today's code has.
        chosen: those of them that are no defaults, which the commit's code must have known.
    """
    found: dict[str, Any] = {}
    for key in {**own, **chosen}:
        value, former, named = parameters.get(key, own.get(key)), own.get(key), chosen.get(key, {})
        inside = isinstance(value, dict) and isinstance(former, dict | None) and isinstance(named, dict)
        found[key] = overlaid(former or {}, value, named) if inside else value
    return found


def compare(version: Version, again: Evaluated, tolerance: float, here: dict[str, str]) -> list[Row]:
    """Registered against reproduced. `here` is the machine that reproduced, as runs' tags describe it."""
    alike = all(_kind(version.tags.get(name)) == _kind(here.get(name)) for name in MACHINE)
    allowed = EXACT if alike else tolerance
    rows = [
        Row("data", version.dataset[:16], again.dataset[:16], version.dataset == again.dataset),
        Row(
            "weights" if alike else "weights (another kind of processor)",
            version.digest,
            again.digest,
            True if version.digest == again.digest else False if alike else None,
        ),
    ]
    recorded = {name for name in version.tags if name.startswith(("val_", "test_"))}
    for name in sorted(recorded | again.figures.keys()):
        before, now = version.figure(name), again.figures.get(name)
        # A version is given figures that come later, its parameters stay those of its first evaluation.
        same = None if before is None or now is None else abs(before - now) <= allowed
        rows.append(Row(name, _shown(before), _shown(now), same))
    return rows


def show(rows: list[Row], console: Console | None = None) -> bool:
    """Print the comparison; True when nothing differs."""
    table = Table(title="Reproduced")
    for header in ("", "registered", "reproduced", ""):
        table.add_column(header)
    marks = {True: "same", False: "[bold red]differs[/bold red]", None: "-"}
    for row in rows:
        table.add_row(row.what, row.registered, row.reproduced, marks[row.same])
    console = console or Console()
    console.print(table)
    differing = [row.what for row in rows if row.same is False]
    console.print(f"Different: {', '.join(differing)}" if differing else "It is the same model.")
    return not differing


def _here() -> dict[str, str]:
    return provenance.machine()


def _kind(described: str | None) -> str | None:
    """A processor's description without its memory, which decides no number."""
    return described and ", ".join(part for part in described.split(", ") if not part.endswith(" GiB"))


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.6f}"
