"""Caption the test split and score it, beside BLIP where its stage has run, and the best registered other cell.

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
from src.registry.rivals import rivals


@reported()
def main() -> None:
    settings, places = config.load(), Places()
    with processes() as group:
        others = rivals(places.dataset, settings.model.rnn.upper()) if group.is_main else {}
        evaluate(settings, places, group, others)


if __name__ == "__main__":
    main()
