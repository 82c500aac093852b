"""The registered models from the command line.

python -m src.registry list                     all models side by side; where there is none the status is 1
python -m src.registry promote                  register what was evaluated here, let the best be champion
python -m src.registry rollback                 the champion before is champion again
python -m src.registry sync                     rebuild a store that is gone, from Git and DVC
python -m src.registry reproduce 3              train version 3 again, elsewhere, and compare
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from src import config
from src.errors import reported
from src.places import Places
from src.registry.versions import FILL, Registry

TOLERANCE = 0.02


@reported()
def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.command == "list":
        from src.registry.listing import show

        versions = Registry().versions()
        if not versions:
            print(f"no model is registered: {FILL}")
            sys.exit(1)
        show(versions, config.load().promote.metric)
    elif options.command == "promote":
        _promote()
    elif options.command == "rollback":
        from src.registry.promotion import rollback

        champion, former = rollback()
        withdrawn = " and is not promoted by itself again" if former.withdrawn else ""
        print(f"champion: {champion}; {former} is kept as previous{withdrawn}")
    elif options.command == "sync":
        from src.registry.sync import sync

        for line in sync():
            print(line, flush=True)
    else:
        from src.registry import reproduce

        if not reproduce.show(reproduce.reproduce(options.version, options.tolerance)):
            sys.exit(1)


def _promote() -> None:
    from src.registry.evaluated import anything, parameters
    from src.registry.promotion import promote, settle

    settings, places, registry = config.load(), Places(), Registry()
    if anything(places):
        made = parameters(settings, places).flat()
        edited = [f"{key} = {made[key]} (now {value})" for key, value in settings.flat().items() if made[key] != value]
        if edited:
            print(f"note: params.yaml has changed since the evaluation, which was made with {', '.join(edited)}")
        verdict = promote(settings, places, registry)
    else:
        verdict = settle(settings.promote, registry)
    for reason in verdict["reasons"]:
        print(reason)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m src.registry", description="The registered models.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all models side by side; where there is none the status is 1")
    commands.add_parser("promote", help="register what was evaluated here, and let the best model be champion")
    commands.add_parser("rollback", help="make the champion before champion again")
    commands.add_parser("sync", help="rebuild a store that is gone from Git and DVC")
    again = commands.add_parser("reproduce", help="train a version again in a folder of its own, and compare")
    again.add_argument("version", metavar="VERSION", help="number or alias")
    again.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="how far figures may differ on another kind of processor (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    main()
