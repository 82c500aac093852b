"""What later stages learn from `reports/train.json`: which run trained the model they have before them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from src.errors import MissingFile, UserError
from src.models.captioner import Captioner


def read_report(path: Path, captioner: Captioner) -> dict[str, Any]:
    """The report of the run that trained `captioner`.

    Raises:
        MissingFile: there is no report.
        UserError: it is damaged, or of another model.
    """
    if not path.exists():
        raise MissingFile(f"{path} is missing: run `dvc repro train`")
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        digest, _ = report["digest"], report["run_id"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}): run `dvc repro train`") from error
    if digest != captioner.digest():
        raise UserError(f"{path} describes another model than the bundle is: run `dvc repro train`")
    return report
