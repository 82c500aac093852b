"""An evaluation to read: figures with their intervals, differences that are more than noise, and who spoke."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

CHANCE = "_by_chance"

Figures = Mapping[str, Mapping[str, float]]


def print_table(models: Figures, comparison: Mapping[str, Any] | None = None, console: Console | None = None) -> None:
    """Show an evaluation in eighty columns of text, whatever the number of metrics.

    Args:
        models: as in reports/evaluation.json. A column each, the best of each metric in bold.
        comparison: as in reports/comparison.json; None: figures only.
    """
    console = console or Console()
    comparison = comparison or {}
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] = comparison.get("intervals", {})
    names = dict.fromkeys(name for figures in models.values() for name in figures)
    metrics = dict.fromkeys(name for of_model in intervals.values() for name in of_model) or names
    table = _table(f"Test split, {comparison['images']:,} images" if comparison else "Test split", models)
    for name in metrics:
        best = max(figures[name] for figures in models.values() if name in figures)
        cells = []
        for model, figures in models.items():
            text = _figure(figures.get(name), intervals.get(model, {}).get(name))
            cells.append(f"[bold]{text}[/bold]" if len(models) > 1 and figures.get(name) == best else text)
        table.add_row(name, *cells)
    table.add_section()
    for name in names:
        if name not in metrics and not name.endswith(CHANCE):
            table.add_row(name, *(_statistic(name, figures) for figures in models.values()))
    console.print(table)
    if comparison:
        _print_pairs(comparison, console)
        _print_notes(comparison, console)


def _print_pairs(comparison: Mapping[str, Any], console: Console) -> None:
    pairs = {(f"{pair['first']} - {pair['second']}", pair["metric"]): pair for pair in comparison["pairs"]}
    columns = dict.fromkeys(column for column, _ in pairs)
    if not columns:
        return
    table = _table("Differences", columns)
    for metric in dict.fromkeys(metric for _, metric in pairs):
        table.add_row(metric, *(_difference(pairs.get((column, metric)), comparison["level"]) for column in columns))
    console.print(table)


def _print_notes(comparison: Mapping[str, Any], console: Console) -> None:
    level, resamples = comparison["level"], comparison["resamples"]
    lines = [f"In brackets: {level:.0%} intervals, by bootstrap over the images ({resamples:,} samples)."]
    if comparison["pairs"]:
        lines.append(f"* p < {1 - level:.2g}, paired randomisation: more than the luck of these images.")
    for model, origin in comparison.get("origins", {}).items():
        facts = (f"{key.replace('_', ' ')} {'nothing' if value is None else value}" for key, value in origin.items())
        lines.append(f"{model}: {', '.join(facts)}")
    for metric, note in comparison.get("metrics", {}).items():
        if "absent" in note:
            lines.append(f"{metric} is absent: {note['absent']}")
        else:
            lines.append(f"{metric}: {', '.join(f'{key} {value}' for key, value in note.items())}")
    for line in lines:
        console.print(escape(line), highlight=False)


def _table(title: str, columns: Mapping[str, Any]) -> Table:
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _figure(figure: float | None, interval: tuple[float, float] | None) -> str:
    if figure is None:
        return "-"
    shown = f"{figure:,}" if isinstance(figure, int) else f"{figure:.3f}"
    return escape(f"{shown} [{_short(interval[0])} {_short(interval[1])}]") if interval else shown


def _statistic(name: str, figures: Mapping[str, float]) -> str:
    """A figure that is no metric, beside what chance would give where that is known."""
    shown = _figure(figures.get(name), None)
    return f"{shown} chance {_short(figures[name + CHANCE])}" if name + CHANCE in figures else shown


def _difference(pair: Mapping[str, Any] | None, level: float) -> str:
    if pair is None:
        return "-"
    text = f"{pair['difference']:+.3f} p{'<.001' if pair['p'] < 0.001 else '=' + _short(pair['p'])}"
    return f"[bold]{text} *[/bold]" if pair["p"] < 1 - level else f"{text}  "


def _short(value: float) -> str:
    """Three digits: .123, 1.23, 12.3."""
    text = f"{value:.3f}"
    if text.startswith(("0.", "-0.")):
        return text.replace("0.", ".", 1)
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
