"""Where the stages of one pipeline run leave things for one another: the paths of dvc.yaml, relative to its folder."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from src.files import repository_root


@dataclass(frozen=True)
class Places:
    """One attribute per file or folder that more than one stage knows."""

    dataset: Path = Path("outputs/dataset")
    embeddings: Path = Path("outputs/embeddings")
    model: Path = Path("outputs/model")
    training: Path = Path("reports/train.json")
    curves: Path = Path("reports/curves.csv")
    baseline: Path = Path("outputs/baseline")
    baseline_report: Path = Path("reports/baseline.json")
    distilled: Path = Path("outputs/distilled/captions.json")
    evaluation: Path = Path("outputs/evaluation/eval-metrics.json")
    parameters: Path = Path("outputs/evaluation/parameters.json")
    scores: Path = Path("reports/evaluation.json")
    test: Path = Path("reports/test.json")
    comparison: Path = Path("reports/comparison.json")
    figures: Path = Path("outputs/figures")
    space: Path = Path("reports/space.json")
    promotion: Path = Path("reports/promotion.json")

    @classmethod
    def below(cls, folder: Path) -> Places:
        """The same of a pipeline that lies in another folder."""
        return cls(**{place.name: folder / getattr(cls, place.name) for place in fields(cls)})


def resume_folder() -> Path:
    """Where states lie that must survive a crash: in the repository that owns the run, wherever DVC runs it."""
    return repository_root() / "mlruns" / "resume"


def search_folder() -> Path:
    """Where searches keep their studies, the states of their trials and what came out."""
    return repository_root() / "mlruns" / "optuna"
