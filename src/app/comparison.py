"""How the models compare: the figures of the last evaluation with their intervals, and the registry's verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.errors import MissingFile, UserError
from src.metrics.table import CHANCE
from src.places import Places

MEASURED = (
    "CIDEr",
    "BLEU-1",
    "BLEU-2",
    "BLEU-3",
    "BLEU-4",
    "METEOR",
    "ROUGE",
    "semantic_similarity",
    "BERTScore",
    "SPICE",
)


@dataclass(frozen=True)
class Bar:
    """One model's figure of one metric, with its 95 % interval where that is known."""

    model: str
    value: float
    interval: tuple[float, float] | None
    best: bool


@dataclass(frozen=True)
class Pair:
    """The difference of two models' CIDEr on the same images."""

    first: str
    second: str
    difference: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """What an evaluation found.

    Attributes:
        images: how many test images; 0 where the report does not say.
        bars: metric -> models.
        others: figures that are no metrics (caption length, ...): name -> model -> figure.
        champion: "LSTM, version 3"; empty where there is none.
        reasons: of the registry's last decision, in sentences.
    """

    images: int
    bars: Mapping[str, tuple[Bar, ...]]
    others: Mapping[str, Mapping[str, float]]
    pairs: tuple[Pair, ...]
    champion: str
    reasons: tuple[str, ...]


def comparison(places: Places) -> Comparison:
    """Read reports/evaluation.json, and comparison.json and promotion.json where they are.

    Raises:
        UserError: nothing is evaluated yet, or a report is damaged.
    """
    if not places.scores.exists():
        raise MissingFile("Nothing is evaluated yet. Run `dvc repro`: it trains, evaluates and compares the models.")
    models = _json(places.scores)
    compared = _json(places.comparison) if places.comparison.exists() else {}
    verdict = _json(places.promotion) if places.promotion.exists() else {}
    intervals = compared.get("intervals", {})
    try:
        measured = [metric for metric in MEASURED if any(metric in figures for figures in models.values())]
        bars = {metric: _bars(metric, models, intervals) for metric in measured}
        names = dict.fromkeys(name for figures in models.values() for name in figures)
        others = {
            name: {model: float(figures[name]) for model, figures in models.items() if name in figures}
            for name in names
            if name not in MEASURED and not name.endswith(CHANCE)
        }
        pairs = tuple(
            Pair(pair["first"], pair["second"], float(pair["difference"]), float(pair["p"]))
            for pair in compared.get("pairs", [])
            if pair["metric"] == "CIDEr"
        )
        champion = verdict.get("champion")
        named = f"{champion['model']}, version {champion['version']}" if champion else ""
        return Comparison(
            int(compared.get("images", 0)), bars, others, pairs, named, tuple(map(str, verdict.get("reasons", ())))
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{places.scores} or a report beside it is damaged ({error!r}): run `dvc repro -f evaluate`"
        ) from None


def _bars(metric: str, models: Mapping[str, Any], intervals: Mapping[str, Any]) -> tuple[Bar, ...]:
    values = {model: float(figures[metric]) for model, figures in models.items() if metric in figures}
    best = max(values.values())
    bars = []
    for model, value in values.items():
        interval = intervals.get(model, {}).get(metric)
        bars.append(Bar(model, value, (float(interval[0]), float(interval[1])) if interval else None, value == best))
    return tuple(bars)


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): run `dvc repro -f evaluate`") from None
