"""Register what was evaluated, and let the best recurrent model be champion.

    python -m stages.promote

Reads outputs/model, outputs/baseline, outputs/evaluation and their reports, leaves reports/promotion.json, and versions
and aliases of the registered model `captioner` in MLflow.
"""

from __future__ import annotations

from src import config
from src.errors import reported
from src.files import write_json
from src.places import Places
from src.registry.promotion import promote


@reported()
def main() -> None:
    settings, places = config.load(), Places()
    verdict = promote(settings, places)
    write_json(places.promotion, verdict)
    print("promoted:" if verdict["promoted"] else "not promoted:", "; ".join(verdict["reasons"]))


if __name__ == "__main__":
    main()
