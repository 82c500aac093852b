"""What a pipeline run has trained and evaluated, read back from the files that its stages left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.config import Settings, fingerprint, validated
from src.contenders import BASELINE as BLIP
from src.errors import MissingFile, UserError
from src.models.baseline import ARCHITECTURE, MODEL_FOLDER
from src.models.captioner import Captioner
from src.places import Places
from src.training.report import read_report

SEARCH_TAG = "search"
"""Names how captions were searched for."""


@dataclass(frozen=True)
class Evaluated:
    """One model with its figures.

    Attributes:
        digest: names the content: the weights, and of BLIP also how it was made to speak.
        bundle: folder of its weights; None for a published checkpoint that was used as it is.
        dataset: digest of the manifest.
        figures: 'val_CIDEr', ... and 'test_CIDEr', ...
        intervals: of figures of the test images: metric -> (low, high), where they were computed.
        settings: the parameters that it was evaluated with.
        details: the file with every test image's caption.
    """

    name: str
    cell: str
    encoder: str
    digest: str
    dataset: str
    run_id: str
    bundle: Path | None
    figures: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]]
    settings: Settings
    scores: Path
    details: Path

    @property
    def recurrent(self) -> bool:
        return self.name != BLIP

    @property
    def tags(self) -> dict[str, str]:
        """What the version carries for people and searches."""
        figures = {name: repr(value) for name, value in self.figures.items()}
        search = (self.settings.decode,) if self.recurrent else self.settings.baseline.speech
        return figures | {
            SEARCH_TAG: fingerprint(*search),
            "model": self.name,
            "cell": self.cell,
            "encoder": self.encoder,
            "dataset": self.settings.dataset.name,
            "dataset.digest": self.dataset,
            "digest": self.digest,
        }


def anything(places: Places) -> bool:
    """Whether a model was trained and evaluated there."""
    return all(path.exists() for path in (places.training, places.model, places.scores))


def evaluated(settings: Settings, places: Places) -> list[Evaluated]:
    """BLIP, where it was evaluated, then the recurrent model.

    Args:
        settings: stand in for those of an evaluation that has not kept its own; see `parameters`.

    Raises:
        UserError: a file is missing, or files are of different models.
    """
    settings = parameters(settings, places)
    captioner = Captioner.load(places.model, with_encoder=False)
    training = read_report(places.training, captioner)
    scores = _report(places.scores, "evaluate")
    compared = _report(places.comparison, "evaluate") if places.comparison.exists() else {}

    def one(report: Mapping[str, Any], name: str, cell: str, encoder: str, bundle: Path | None) -> Evaluated:
        return Evaluated(
            name=name,
            cell=cell,
            encoder=encoder,
            digest=content(report),
            dataset=captioner.origin["dataset"],
            run_id=report["run_id"],
            bundle=bundle,
            figures={key: float(value) for key, value in report.items() if key.startswith("val_")}
            | {f"test_{metric}": float(value) for metric, value in scores.get(name, {}).items()},
            intervals=compared.get("intervals", {}).get(name, {}),
            settings=settings,
            scores=places.scores,
            details=places.evaluation,
        )

    found = []
    if places.baseline_report.exists() and "digest" in (report := _report(places.baseline_report, "baseline")):
        folder = places.baseline / MODEL_FOLDER
        bundle = folder if folder.is_dir() else None
        found.append(
            one(report, BLIP, report.get("architecture", ARCHITECTURE), Path(report["checkpoint"]).name, bundle)
        )
    own = one(training, captioner.name, captioner.decoder.config.rnn, captioner.provenance.encoder, places.model)
    if not any(name.startswith("test_") for name in own.figures):
        raise UserError(f"{places.scores} has no figures of {own.name}: run `dvc repro evaluate`")
    return [*found, own]


def parameters(settings: Settings, places: Places) -> Settings:
    """The parameters that an evaluation was made with, whatever params.yaml says now; promotion's rule and what `tune`
    may try, which decide no figure, are those of `settings`.

    Raises:
        UserError: the file is damaged.
    """
    if not places.parameters.exists():
        return settings
    kept = validated(_report(places.parameters, "evaluate"), str(places.parameters))
    return kept.model_copy(update={"promote": settings.promote, "tune": settings.tune})


def opened(folder: Path, places: Places) -> Captioner:
    """The captioner of a bundle; that of the last pipeline run searches as it was evaluated, once it was: another
    search is no reason to train again, so its bundle still has the search of the day it was trained.

    Raises:
        UserError: there is no captioner, or a file is damaged.
    """
    captioner = Captioner.load(folder)
    if folder.resolve() == places.model.resolve() and places.parameters.exists() and places.comparison.exists():
        whose = _report(places.comparison, "evaluate").get("origins", {}).get(captioner.name, {})
        if whose.get("digest") == captioner.digest():
            captioner.decode = parameters(Settings(), places).decode
    return captioner


def content(report: Mapping[str, Any]) -> str:
    """What names the model of a report: a baseline that was asked or searched otherwise is another."""
    return str(report.get("identity") or report["digest"])


def _report(path: Path, stage: str) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise MissingFile(f"{path} is missing: run `dvc repro {stage}`") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): run `dvc repro -f {stage}`") from None
