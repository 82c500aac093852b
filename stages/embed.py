"""Fill the embedding cache with every image's grid.

    python -m stages.embed
    torchrun --standalone --nproc-per-node 2 -m stages.embed

Reads outputs/dataset, leaves outputs/embeddings. Killed and started again, it goes on from the rows it has.
"""

from __future__ import annotations

from src import config
from src.data.manifest import Manifest
from src.encoders import cache, loading
from src.errors import reported
from src.places import Places, resume_folder
from src.processes import processes


@reported()
def main() -> None:
    settings, places = config.load(), Places()
    with processes() as group:
        result = cache.fill(
            loading.load(settings.embed, settings.seed),
            Manifest.load(places.dataset),
            settings.dataset.root,
            places.embeddings,
            resume_folder(),
            settings.embed,
            group,
        )
        if group.is_main:
            print(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
