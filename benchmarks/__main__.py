"""All benchmarks that need no trained model, one after the other, each in a process of its own.

    python -m benchmarks --json figures/

On a GPU it takes some minutes, on two cores about a quarter of an hour. `benchmarks.latency` needs a trained model,
`benchmarks.tuning` and `benchmarks.killing` take long by their nature: they are started by themselves.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

NAMES = ("training", "memory", "extraction", "decoding", "metrics", "scale")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--json", type=Path, metavar="DIR", help="also write each one's figures to DIR/<name>.json")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; all when none is named")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    if options.json:
        options.json.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.names or NAMES:
        written = ["--json", str(options.json / f"{name}.json")] if options.json else []
        print(f"python -m benchmarks.{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *written], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed: what was said is above")


if __name__ == "__main__":
    main()
