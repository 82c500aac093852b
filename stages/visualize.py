"""Draw what the trained model says of test images, where it looks, and how it was trained.

    python -m stages.visualize

Reads outputs/dataset, outputs/embeddings, outputs/model, outputs/evaluation, reports/train.json, reports/curves.csv and
the photographs, leaves outputs/figures/*.png and adds them to the model's MLflow run.
"""

from __future__ import annotations

from src import config
from src.errors import reported
from src.places import Places
from src.visualize.figures import draw


@reported()
def main() -> None:
    for path in draw(config.load(), Places()):
        print(path)


if __name__ == "__main__":
    main()
