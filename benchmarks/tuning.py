"""TPE with Hyperband beside random search without pruning, at equal time: best validation CIDEr so far.

    python -m benchmarks.tuning --seconds 600 --seeds 5 --json tuning.json --plot tuning.png

Each study is `python -m src.tune` on this folder's outputs/dataset and outputs/embeddings with params.yaml's space,
in a temporary folder, for so many seconds of wall-clock. The two of a seed run side by side, each with half of the
cores: whatever slows the machine slows both. Two curves come out: over seconds, which the machine decides, and over
epochs of training, which it does not. A trial counts when it has ended, a pruned one for what it had reached.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.searches import environment, finished_trials, workplace
from src.errors import UserError, reported
from src.files import write_json
from src.launch import cores
from src.visualize.style import HEADING, WIDTH, save, styled

WAYS: dict[str, dict[str, Any]] = {
    "TPE, Hyperband": {"sampler": "tpe", "pruner": "hyperband"},
    "random, no pruning": {"sampler": "random", "pruner": "none"},
}
SHADES = {"TPE, Hyperband": "#0072B2", "random, no pruning": "#D55E00"}
POINTS = 200


def pair(seed: int, seconds: float, changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A seed's two searches at once."""
    with ThreadPoolExecutor(len(WAYS)) as pool:
        found = {way: pool.submit(study, way, seed, seconds, changes) for way in WAYS}
        return {way: future.result() for way, future in found.items()}


def _end(trial: FrozenTrial) -> datetime:
    assert trial.datetime_complete is not None
    return trial.datetime_complete


def study(way: str, seed: int, seconds: float, changes: dict[str, Any]) -> dict[str, Any]:
    """One search: for each ended trial the seconds and the epochs behind it, and the best CIDEr so far."""
    with tempfile.TemporaryDirectory() as temporary:
        tune = {**changes.get("tune", {}), **WAYS[way], "trials": 10_000, "timeout": seconds}
        folder = workplace(Path(temporary), {**changes, "tune": tune})
        parameters = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
        (folder / "params.yaml").write_text(yaml.safe_dump({**parameters, "seed": seed}), encoding="utf-8")
        threads = max(1, cores() // len(WAYS) // parameters["tune"]["workers"])
        subprocess.run(
            [sys.executable, "-m", "src.tune"], cwd=folder, check=True, capture_output=True,
            env=environment(folder) | {"OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        trials = sorted(finished_trials(folder), key=_end)
    if not trials:
        raise UserError(f"no trial ended within {seconds:g} seconds: give more with --seconds")
    begun = min(trial.datetime_start for trial in trials if trial.datetime_start)
    best = np.maximum.accumulate([max(trial.intermediate_values.values(), default=0.0) for trial in trials])
    return {
        "seconds": [(_end(trial) - begun).total_seconds() for trial in trials],
        "epochs": np.cumsum([len(trial.intermediate_values) for trial in trials]).tolist(),
        "best": best.tolist(),
        "pruned": sum(trial.state.name == "PRUNED" for trial in trials),
        "trials": len(trials),
    }


def at(curve: dict[str, Any], unit: str, places: np.ndarray) -> np.ndarray:
    """The best so far at these seconds or epochs; nothing, as NaN, before the first trial has ended."""
    position = np.searchsorted(curve[unit], places, side="right") - 1
    return np.where(position < 0, np.nan, np.array(curve["best"])[np.maximum(position, 0)])


@styled()
def picture(studies: dict[str, list[dict[str, Any]]]) -> Figure:
    """Every study thin, the median of each way thick: over seconds, over epochs."""
    figure = Figure(figsize=(WIDTH, 4.6))
    figure.suptitle("Best validation CIDEr so far", x=0.055, y=0.97, ha="left", size=HEADING, weight="bold")
    for axes, unit in zip(figure.subplots(1, 2, sharey=True), ("seconds", "epochs"), strict=True):
        for row, (way, curves) in enumerate(studies.items()):
            places = np.linspace(0, min(curve[unit][-1] for curve in curves), POINTS)
            values = np.array([at(curve, unit, places) for curve in curves])
            axes.plot(places, values.T, color=SHADES[way], linewidth=0.8, alpha=0.35)
            known = ~np.isnan(values).any(axis=0)
            axes.plot(places[known], np.median(values[:, known], axis=0), color=SHADES[way], linewidth=2.5)
            axes.text(1, 0.04 + 0.06 * row, way, transform=axes.transAxes, ha="right", color=SHADES[way], weight="bold")
        axes.set_xlabel(f"{unit} of {'wall-clock' if unit == 'seconds' else 'training'}")
        axes.tick_params(length=0)
    figure.subplots_adjust(left=0.055, right=0.98, top=0.86, bottom=0.13, wspace=0.08)
    return figure


@reported()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning")
    parser.add_argument("--seconds", type=float, default=600.0, help="of each study")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="other parameters")
    parser.add_argument("--json", type=Path, help="also write the curves here")
    parser.add_argument("--plot", type=Path, help="also draw them here")
    options = parser.parse_args()
    changes: dict[str, Any] = {}
    for given in options.set:
        key, _, value = given.partition("=")
        section, _, name = key.partition(".")
        changes.setdefault(section, {})[name] = yaml.safe_load(value)
    studies: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for seed in range(options.seeds):
        for way, curve in pair(seed, options.seconds, changes).items():
            studies[way].append(curve)
            print(f"seed {seed}, {way}: {curve['best'][-1]:.3f} ({curve['trials']} trials)", flush=True)
    epochs = min(curve["epochs"][-1] for curves in studies.values() for curve in curves)
    table = Table("", "trials", "pruned", f"best after {options.seconds:g} s", f"best after {epochs} epochs")
    for way, curves in studies.items():
        columns = [[curve["trials"] for curve in curves], [curve["pruned"] for curve in curves]]
        counts = [f"{statistics.mean(column):.1f}" for column in columns]
        ends = (
            [curve["best"][-1] for curve in curves],
            [float(at(curve, "epochs", np.array(epochs))) for curve in curves],
        )
        table.add_row(way, *counts, *(_spread(values) for values in ends))
    console = Console()
    console.print(table)
    console.print(", ".join(f"{key}: {value}" for key, value in machine.description().items()), highlight=False)
    if options.json:
        write_json(options.json, {"machine": machine.description(), "seconds": options.seconds, "studies": studies})
    if options.plot:
        save(picture(studies), options.plot)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
