"""Caption the test split and score it.

    python -m stages.evaluate

Reads outputs/model, outputs/embeddings and outputs/dataset, leaves outputs/evaluation/eval-metrics.json and
reports/evaluation.json, and adds the figures to the model's MLflow run.
"""

from __future__ import annotations

from src import config
from src.errors import reported
from src.evaluation import evaluate
from src.places import Places
from src.processes import processes


@reported()
def main() -> None:
    settings = config.load()
    with processes() as group:
        evaluate(settings, Places(), group)


if __name__ == "__main__":
    main()
