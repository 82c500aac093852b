"""Train the recurrent decoder on cached grids.

    python -m src.launch stages.train
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m stages.train

Reads outputs/dataset and outputs/embeddings, leaves outputs/model, reports/train.json and reports/curves.csv.
Interrupted and started again with the same parameters, it goes on where it stopped.
"""

from __future__ import annotations

from src import config
from src.errors import reported
from src.places import Places, resume_folder
from src.processes import processes
from src.training.train import train


@reported()
def main() -> None:
    settings = config.load()
    with processes() as group:
        train(settings, Places(), resume_folder(), group)


if __name__ == "__main__":
    main()
