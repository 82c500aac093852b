"""Let the baseline caption a share of the training images, for the decoder to learn from.

    python -m src.launch stages.distill

Reads outputs/dataset and outputs/baseline, leaves outputs/distilled/captions.json: `{}` while train.distill is 0, so
that another baseline does not mean another training.
"""

from __future__ import annotations

from src import config
from src.distill import distill
from src.errors import reported
from src.places import Places, resume_folder
from src.processes import processes


@reported()
def main() -> None:
    settings = config.load()
    with processes() as group:
        distill(settings, Places(), resume_folder(), group)


if __name__ == "__main__":
    main()
