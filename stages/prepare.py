"""Read, check and tokenise the dataset: `python -m stages.prepare`, or `dvc repro prepare`."""

from __future__ import annotations

from pathlib import Path

from src.config import load
from src.data.dataset import prepare
from src.errors import reported
from src.places import Places


@reported()
def main() -> None:
    prepare(load(), out_dir=Places().dataset, report_path=Path("reports/dataset.json"))


if __name__ == "__main__":
    main()
