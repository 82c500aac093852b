"""Caption the validation and test images with BLIP, trained on the dataset first where params.yaml says so.

    python -m src.launch stages.baseline
    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m stages.baseline

Reads outputs/dataset and the photographs, leaves outputs/baseline and reports/baseline.json. Interrupted and started
again with the same parameters, it goes on where it stopped.
"""

from __future__ import annotations

from src import baseline, config
from src.errors import reported
from src.places import Places, resume_folder
from src.processes import processes


@reported()
def main() -> None:
    settings = config.load()
    with processes() as group:
        baseline.caption(settings, Places(), resume_folder(), group)


if __name__ == "__main__":
    main()
