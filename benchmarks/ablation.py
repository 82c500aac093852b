"""What each option does alone: validation CIDEr with and without it, from the same seed, for the same epochs.

    python -m benchmarks.ablation --set train.epochs=5 train.label_smoothing=0 decode.rerank=consensus --json rows.json

The first row is params.yaml with what --set changes; every argument is one row more: overrides of that, separated by
blanks. Rows are trained on this folder's outputs/dataset and outputs/embeddings (an override of `dataset`, `prepare`
or `embed` makes its own), in temporary folders, several at once with a share of the cores each. Where only `decode`
differs, the first row's model speaks. Greedy captions are those that training itself looks at, the others those that
`decode` asks for. With --json, rows that the file holds are not trained again. The test images are never looked at.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Column, Table
from tqdm import tqdm

from benchmarks import machine
from benchmarks.searches import environment, workplace
from src import config
from src.config import Settings, fingerprint
from src.data.manifest import Manifest
from src.encoders.cache import Embeddings
from src.errors import UserError, reported
from src.evaluation import best_captions
from src.files import write_json
from src.launch import cores
from src.metrics.cider import CiderScorer
from src.models.captioner import Captioner
from src.places import Places
from src.processes import Group
from src.tune.suggestions import changed

AS_IT_IS = ""
"""The row without an override."""
DATA = ("dataset", "prepare", "embed")


def overrides(text: str) -> dict[str, Any]:
    """`a.b=1 c.d=x` by name.

    Raises:
        UserError: a part has no '='.
    """
    found = {}
    for part in text.split():
        key, sign, value = part.partition("=")
        if not sign:
            raise UserError(f"{part!r} in {text!r} is no override: write section.key=value")
        found[key] = yaml.safe_load(value)
    return found


def trained(folder: Path, settings: Settings, prepared: Settings, threads: int) -> dict[str, Any]:
    """Prepare and train in `folder`, and say what came of it.

    Args:
        prepared: what this folder's outputs were made with.
    """
    own = {name for name in DATA if getattr(settings, name) != getattr(prepared, name)}
    workplace(folder, {})
    parameters = settings.model_dump(mode="json")
    parameters["dataset"]["root"] = str(Path(settings.dataset.root).resolve())
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
    stages = ["train"]
    if own & {"dataset", "embed"}:
        (folder / "outputs/embeddings").unlink()
        stages.insert(0, "embed")
    if own & {"dataset", "prepare"}:
        (folder / "outputs/dataset").unlink()
        stages.insert(0, "prepare")
    for stage in stages:
        done = subprocess.run(
            [sys.executable, "-m", "src.launch", f"stages.{stage}"], cwd=folder, capture_output=True, text=True,
            env=environment(folder) | {"OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
        if done.returncode:
            raise UserError(f"stages.{stage} failed: {done.stderr[-2000:]}")
    report = json.loads((folder / "reports/train.json").read_text(encoding="utf-8"))
    return {"greedy": report["val_CIDEr"], "epoch": report["best_epoch"], "seconds": report["train_seconds"]}


def said(folder: Path, settings: Settings) -> float:
    """CIDEr of the validation images' captions as `decode` asks for them."""
    places = Places.below(folder)
    manifest = Manifest.load(places.dataset)
    embeddings = Embeddings.open(places.embeddings, manifest)
    captioner = Captioner.load(places.model, with_encoder=False)
    found = best_captions(
        captioner, embeddings, manifest, manifest.rows("val"), settings, Group(0, 1, torch.device("cpu"))
    )
    references = CiderScorer([image.words for image in manifest.split("val")])
    return float(references.score([caption.words for caption in found]).mean())


def only_decoding(settings: Settings, given: Settings) -> bool:
    """Whether both train the same model."""
    return settings.model_copy(update={"decode": given.decode}) == given and (
        settings.decode.max_words == given.decode.max_words
    )


def table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    found = Table(
        Column("override", overflow="fold"),
        "greedy",
        "decode",
        "difference",
        "best epoch",
        "seconds",
        title="validation CIDEr",
    )
    first = rows.get(AS_IT_IS)
    for name, row in rows.items():
        beside = f"{row['decode'] - first['decode']:+.3f}" if first and row is not first else ""
        seconds = f"{row['seconds']:.0f}" if row["seconds"] else ""
        found.add_row(
            name or "(none)", f"{row['greedy']:.3f}", f"{row['decode']:.3f}", beside, str(row["epoch"]), seconds
        )
    return found


@reported()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation")
    parser.add_argument("rows", nargs="*", metavar="OVERRIDES", help="'section.key=value ...', one row each")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for all rows")
    parser.add_argument("--workers", type=int, default=cores(), help="rows at once")
    parser.add_argument("--json", type=Path, help="also keep the rows here, and go on from those that it holds")
    options = parser.parse_args()
    prepared = config.load()
    given = changed(prepared, overrides(" ".join(options.set)), "--set")
    wanted = {row: changed(given, overrides(row), repr(row)) for row in [AS_IT_IS, *options.rows]}
    for row, settings in wanted.items():
        if settings.decode.rerank == "baseline" or settings.train.distill:
            raise UserError(
                f"{row or '--set'!r}: what decode.rerank=baseline and train.distill do is not measured here"
            )
    parameters = fingerprint(given)
    kept: dict[str, Any] = {"machine": machine.description(), "set": options.set, "parameters": parameters, "rows": {}}
    if options.json and options.json.exists():
        former = json.loads(options.json.read_text(encoding="utf-8"))
        if former["parameters"] != parameters:
            raise UserError(f"{options.json} holds rows of other parameters (--set {former['set']}): name another file")
        kept["rows"] = former["rows"]
    rows: dict[str, Any] = kept["rows"]
    failed: list[UserError] = []
    torch.set_num_threads(threads := max(1, cores() // options.workers))
    spoken = {name for name, settings in wanted.items() if only_decoding(settings, given)}

    def keep(name: str, row: dict[str, Any]) -> None:
        rows[name] = row
        tqdm.write(f"{name or '(none)'}: greedy {row['greedy']:.3f}, decode {row['decode']:.3f}")
        if options.json:
            write_json(options.json, kept)

    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.workers) as pool:

        def learnt(number: int, settings: Settings) -> tuple[Path, dict[str, Any]]:
            folder = Path(temporary) / str(number)
            row = trained(folder, settings, prepared, threads)
            return folder, row | {"decode": said(folder, settings)}

        missing = [name for name in wanted if name not in rows]
        to_train = [name for name in missing if name not in spoken]
        if any(name in spoken for name in missing):
            to_train.insert(0, AS_IT_IS)
        learning = {pool.submit(learnt, number, wanted[name]): name for number, name in enumerate(to_train)}
        try:
            for future in tqdm(as_completed(learning), total=len(learning), desc="ablation", unit="row"):
                name = learning[future]
                try:
                    folder, row = future.result()
                except UserError as error:
                    failed.append(UserError(f"{name or '(none)'}: {error}"))
                    continue
                keep(name, row)
                if name == AS_IT_IS:
                    for name in spoken - set(rows):
                        keep(name, row | {"decode": said(folder, wanted[name]), "seconds": None})
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # rows that wait must not begin
            raise
    console = Console()
    console.print(table({name: rows[name] for name in [*wanted, *rows] if name in rows}))
    console.print(", ".join(f"{key}: {value}" for key, value in machine.description().items()), highlight=False)
    if failed:
        raise failed[0]


if __name__ == "__main__":
    main()
