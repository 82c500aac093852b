"""What the last pipeline run came to: the table, and where the pictures are.

python -m src.summary
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from src.errors import UserError, reported
from src.metrics.report import print_table

FIGURES = Path("reports/evaluation.json")
PICTURES = Path("outputs/figures")


@reported()
def main() -> None:
    if not FIGURES.exists():
        raise UserError(f"{FIGURES} is missing: nothing was evaluated yet, run `make repro`")
    console = Console()
    print_table(json.loads(FIGURES.read_text(encoding="utf-8")), console)
    for picture in sorted(PICTURES.glob("**/*.png")):
        console.print(f"  {picture}", highlight=False)
    console.print(
        "\nNext: [bold]source .venv/bin/activate[/bold], then\n"
        "  dvc exp run -S model.rnn=gru      the other cell, on the same features\n"
        "  dvc exp show                      all experiments side by side\n"
        "  python -m src.caption IMAGE...    your own photographs\n"
        "  mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db",
        highlight=False,
    )


if __name__ == "__main__":
    main()
