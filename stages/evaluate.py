"""Caption the test split and score it, beside BLIP where its stage has run.

    python -m stages.evaluate

Reads outputs/model, outputs/embeddings, outputs/dataset, reports/train.json and, where they are, outputs/baseline and
reports/baseline.json. Leaves outputs/evaluation/eval-metrics.json, reports/evaluation.json, reports/test.json and
reports/comparison.json, and adds the figures to the models' MLflow runs.
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
        evaluate(settings, Places(), group, rivals={})


if __name__ == "__main__":
    main()
