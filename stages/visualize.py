"""Draw what the models say of test images, where they look, how the trained one came about, and the embedding space.

    python -m stages.visualize

Reads outputs/dataset, outputs/embeddings, outputs/model, outputs/evaluation, reports/train.json, reports/curves.csv,
reports/comparison.json, the photographs, and the other cell's model out of the registry where `evaluate` found it.
Leaves outputs/figures/*.png, adds them to the model's MLflow run, and leaves reports/space.json.
"""

from __future__ import annotations

from src import config
from src.errors import reported
from src.places import Places
from src.registry.rivals import captioner
from src.visualize.figures import draw


@reported()
def main() -> None:
    for path in draw(config.load(), Places(), captioner):
        print(path)


if __name__ == "__main__":
    main()
