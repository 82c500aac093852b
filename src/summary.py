"""What the last pipeline run came to: the table, and where the pictures are.

python -m src.summary
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from src.errors import UserError, reported
from src.metrics.table import print_table
from src.places import Places


@reported()
def main() -> None:
    places = Places()
    if not places.scores.exists():
        raise UserError(f"{places.scores} is missing: nothing was evaluated yet, run `make repro`")
    console = Console()
    compared = _read(places.comparison) if places.comparison.exists() else None
    print_table(_read(places.scores), compared, console)
    if places.promotion.exists():
        verdict = _read(places.promotion)
        champion = verdict["champion"]
        named = f"{champion['model']}, version {champion['version']}" if champion else "none"
        console.print(f"Champion: [bold]{named}[/bold] ({'; '.join(verdict['reasons'])})\n", highlight=False)
    if places.space.exists() and (space := _read(places.space)):
        near, chance = space["neighbour_overlap"], space["neighbour_overlap_by_chance"]
        console.print(
            f"Of an image's {space['neighbours']} nearest by its features {near:.0%} are also nearest by caption "
            f"(chance {chance:.0%}); silhouettes of the clusters: images {space['silhouette_images_by_images']:.2f}, "
            f"captions {space['silhouette_captions_by_captions']:.2f}.\n",
            highlight=False,
        )
    for picture in sorted(places.figures.glob("**/*.png")):
        console.print(f"  {picture}", highlight=False)
    console.print(
        "\nNext: [bold]source .venv/bin/activate[/bold], then\n"
        "  dvc exp run -S embed.encoder=efficientnet_lite2      an experiment\n"
        "  dvc exp show                                         all experiments side by side\n"
        "  python -m src.registry list                          all models side by side\n"
        "  python -m src.tune                                   a search for better parameters\n"
        "  python -m src.caption IMAGE... --alias champion      your own photographs\n"
        "  mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db",
        highlight=False,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): delete it and run `dvc repro`") from None
    return read


if __name__ == "__main__":
    main()
