"""All registered models side by side, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from src.registry.versions import Version

WIDTH = 100
"""Columns where the output is no terminal."""
FIRST = ("CIDEr", "BLEU-4", "METEOR", "ROUGE")
"""Figures of the test images that every terminal has room for."""
WIDER = 130
"""Columns from which all figures are shown."""


def show(versions: Sequence[Version], metric: str, console: Console | None = None) -> None:
    """Print a table: a model a row, those on the same data together, the best on the validation images first."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=max(WIDTH, console.width))
    measured = {name[len("test_") :] for version in versions for name in version.tags if name.startswith("test_")}
    others = sorted(measured - set(FIRST)) if console.width >= WIDER else []
    metrics = [name for name in (*FIRST, *others) if name in measured]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="Registered captioners")
    for header in ("", "alias", "model", "data", metric.replace("val_", "val\n")):
        table.add_column(header, justify="right" if header in ("",) or header.startswith("val") else "left")
    for name in metrics:
        table.add_column(f"test\n{name}", justify="right")
    table.add_column("experiment", overflow="fold")
    newest = {version.dataset: version.number for version in versions}
    for version in sorted(versions, key=lambda one: (-newest[one.dataset], -(one.figure(metric) or 0.0), one.number)):
        table.add_row(
            str(version.number),
            "\n".join([*sorted(version.aliases), *(["withdrawn"] if version.withdrawn else [])]),
            f"{version.name}\n[dim]{version.tags.get('encoder', '')}[/dim]",
            f"{version.tags.get('dataset', '?')}\n[dim]{version.dataset[:8]}[/dim]",
            _figure(version, metric),
            *(_figure(version, f"test_{name}") for name in metrics),
            f"{version.tags.get('dvc.experiment', '-')}\n[dim]{version.created:%Y-%m-%d %H:%M}[/dim]",
        )
    console.print(table)


def _figure(version: Version, name: str) -> str:
    value = version.figure(name)
    return "-" if value is None else f"{value:.3f}"
