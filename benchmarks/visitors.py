"""Many visitors of the page at once: whether anyone meets an error, whether memory grows, and how long they wait.

    python -m benchmarks.visitors --visitors 50 --seconds 60
    python -m benchmarks.visitors --visitors 50 --seconds 60 --json visitors.json

Serves this folder's models on loopback, in a process of its own. Each visitor opens the page, then uploads a test
picture and waits for the captions of all models, searches the gallery, and pauses for some seconds, again and again.
Milliseconds: median, 95th percentile and longest. Memory is the server's, first when every visitor has been served
once, then at the end. Its processor time for a visit (captions and a search) depends little on what else the machine
does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from src import config
from src.app.answers import AT_ONCE
from src.data.images import ImageBytes
from src.data.manifest import Manifest
from src.files import write_json
from src.places import Places

PAUSE = (1.0, 4.0)
"""Seconds in which a visitor looks at what came."""
PATIENCE = 120.0
"""Seconds after which a visitor would give up: an error."""
WORDS = ("dog", "beach", "red", "man", "night", "two", "tree", "")
PICTURES = 20


@dataclass
class Visits:
    """What the visitors met, in milliseconds by deed; shared by their threads."""

    times: dict[str, list[float]] = field(default_factory=lambda: {"page": [], "captions": [], "search": []})
    errors: list[str] = field(default_factory=list)
    served: int = 0

    def timed(self, deed: str, started: float) -> None:
        self.times[deed].append((time.perf_counter() - started) * 1e3)


@contextmanager
def page() -> Iterator[tuple[str, psutil.Process]]:
    """The page of this folder at a free port: its address and its process."""
    command = [sys.executable, "-m", "src.app", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if "http://" not in line:
            raise RuntimeError("the page did not start")
        yield line.split()[1], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def visitor(address: str, pictures: list[bytes], until: float, seed: int, visits: Visits) -> None:
    """One visitor's time on the page."""
    dice = random.Random(seed)
    time.sleep(dice.uniform(0, PAUSE[1]))  # people do not arrive in the same millisecond
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        first = True
        while time.monotonic() < until:
            try:
                _visit(client, dice.choice(pictures), dice.choice(WORDS), first, visits)
            except Exception as error:  # whatever a visitor meets is counted
                visits.errors.append(f"{type(error).__name__}: {error}")
            visits.served += first
            first = False
            time.sleep(dice.uniform(*PAUSE))


def _visit(client: httpx.Client, picture: bytes, word: str, first: bool, visits: Visits) -> None:
    if first:
        started = time.perf_counter()
        client.get("/").raise_for_status()
        visits.timed("page", started)
    started = time.perf_counter()
    [path] = client.post("/gradio_api/upload", files={"files": ("scene.jpg", picture)}).raise_for_status().json()
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    view = _asked(client, "caption", [file, 5, 3])
    visits.timed("captions", started)
    if "cl-card" not in view:
        raise RuntimeError(f"no captions, but {view[:200]}")
    started = time.perf_counter()
    view = _asked(client, "search", [word, "best first", "LSTM", "CIDEr"])
    visits.timed("search", started)
    if "cl-gallery" not in view and "cl-empty" not in view:
        raise RuntimeError(f"no gallery, but {view[:200]}")


def _asked(client: httpx.Client, name: str, data: list[Any]) -> str:
    """The first output of one of the page's functions, by way of its queue."""
    event = client.post(f"/gradio_api/call/{name}", json={"data": data}).raise_for_status().json()["event_id"]
    told = ""
    with client.stream("GET", f"/gradio_api/call/{name}/{event}") as stream:
        for line in stream.iter_lines():
            if line.startswith("event:"):
                told = line.partition(":")[2].strip()
            elif line.startswith("data:") and told in ("complete", "error"):
                if told == "error":
                    raise RuntimeError(f"{name}: {line[:200]}")
                return str(json.loads(line.partition(":")[2])[0])
    raise RuntimeError(f"{name}: the stream ended without an answer")


def measure(visitors: int, seconds: float) -> tuple[Visits, dict[str, float], float]:
    """Let so many visitors come for so long; what they met, the server's memory in MiB by moment, and its
    processor time in ms for a visit."""
    records = Manifest.load(Places().dataset).split("test")[:PICTURES]
    read = ImageBytes(config.load().dataset.root)
    pictures = [read(record.location) for record in records]
    visits, memory = Visits(), {}
    with page() as (address, process):
        warm = Visits()
        with httpx.Client(base_url=address, timeout=PATIENCE) as client:
            _visit(client, pictures[0], "", True, warm)  # the models are loaded by the first visitor
        memory["before"], worked = _mebibytes(process), sum(process.cpu_times()[:2])
        until = time.monotonic() + seconds
        watch = threading.Thread(target=_watch, args=(process, memory, visits, visitors, until))
        watch.start()
        with ThreadPoolExecutor(visitors) as pool:
            for number in range(visitors):
                pool.submit(visitor, address, pictures, until, number, visits)
        watch.join()
        memory["end"], worked = _mebibytes(process), sum(process.cpu_times()[:2]) - worked
    return visits, memory, 1e3 * worked / max(1, len(visits.times["captions"]))


def _watch(process: psutil.Process, memory: dict[str, float], visits: Visits, visitors: int, until: float) -> None:
    while time.monotonic() < until:
        now = _mebibytes(process)
        memory["most"] = max(memory.get("most", 0.0), now)
        if visits.served >= visitors:
            memory.setdefault("all served once", now)
        time.sleep(0.5)


def _mebibytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def summary(visits: Visits) -> dict[str, Mapping[str, float]]:
    """Count, median, 95th percentile and longest of each deed's milliseconds."""
    found: dict[str, Mapping[str, float]] = {}
    for deed, times in visits.times.items():
        ordered = sorted(times)
        if ordered:
            at = {name: ordered[int(share * (len(ordered) - 1))] for name, share in (("median", 0.5), ("p95", 0.95))}
            found[deed] = {"count": float(len(ordered)), **at, "longest": ordered[-1]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visitors")
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}"
    visits, memory, worked = measure(options.visitors, options.seconds)
    found = summary(visits)
    title = f"{options.visitors} visitors for {options.seconds:g} s, {AT_ONCE} pictures at once, ms"
    table = Table("", "times", "median", "p95", "longest", title=title)
    for deed, figures in found.items():
        table.add_row(deed, *(f"{figures[name]:,.0f}" for name in ("count", "median", "p95", "longest")))
    console = Console()
    console.print(table)
    console.print(f"processor time of a visit: {worked:,.0f} ms")
    console.print("memory, MiB: " + ", ".join(f"{moment} {value:,.0f}" for moment, value in memory.items()))
    console.print(
        f"errors: {len(visits.errors)}{'; first: ' + visits.errors[0] if visits.errors else ''}", markup=False
    )
    if options.json:
        write_json(
            options.json,
            {
                "machine": machine.description() | {"load before": load},
                "visitors": options.visitors,
                "seconds": options.seconds,
                "at_once": AT_ONCE,
                "milliseconds": found,
                "processor_ms_per_visit": worked,
                "memory_MiB": memory,
                "errors": visits.errors,
            },
        )
    sys.exit(bool(visits.errors))


if __name__ == "__main__":
    main()
