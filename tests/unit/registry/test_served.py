"""A registered model works without this repository: loaded in another folder, and over HTTP."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pipelines
import pytest
import tiny
import torch
from PIL import Image

from src import config
from src.caption import caption
from src.config import Decode
from src.models.baseline import MODEL_FOLDER, Baseline
from src.models.captioner import Captioner
from src.places import Places
from src.registry import served as serving
from src.registry.evaluated import evaluated
from src.registry.promotion import promote
from src.registry.registration import NEEDED, NEEDED_BY_BLIP, PROJECT, pack, requirements
from src.registry.versions import CHAMPION, FOLDER, Registry

LOAD = """\
import json, sys
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
said = model.predict(pandas.DataFrame({"image": sys.argv[2:]}))
import src.models.captioner
own = [name for name, module in sys.modules.items() if name.split(".")[0] == "src" and getattr(module, "__file__", "")]
print(json.dumps({"said": said, "from": src.models.captioner.__file__, "own": own}))
"""


def encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def elsewhere() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DVC_ROOT")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = pipelines.pipeline(tmp_path_factory.mktemp("run"))
    (model,) = evaluated(pipelines.settings(folder), Places.below(folder))
    pack(model, folder / "packed")
    return folder / "packed"


def loaded_elsewhere(packed: Path, folder: Path, picture: Image.Image) -> dict[str, Any]:
    """What a process that knows nothing of this repository gets from the model."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(packed), encoded(picture)],
        cwd=folder,
        env=elsewhere(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_packed_model_needs_nothing_of_the_repository(packed: Path, tmp_path: Path) -> None:
    picture = pipelines.photograph()
    answer = loaded_elsewhere(packed, tmp_path, picture)

    search = Decode.model_validate(pipelines.SEARCH)
    folder = packed.parent
    captioner = Captioner.load(Places.below(folder).model)
    assert answer["said"] == [{"caption": caption(captioner, [picture], search)[0][0].sentence}]
    assert Path(answer["from"]).is_relative_to(packed)
    missing = imported(answer["own"], packed / "code") - set(NEEDED)
    assert not missing, f"captioning imports {missing}, which the model's requirements do not name"


@pytest.mark.slow
def test_a_blip_that_has_learnt_is_packed_alike(tmp_path: Path) -> None:
    folder = pipelines.pipeline(tmp_path / "run", blip=0.5)
    places, settings = Places.below(folder), pipelines.settings(folder)
    baseline = Baseline.tiny(settings.baseline, tiny.vocabulary()).ready(torch.device("cpu"))
    baseline.save(places.baseline / MODEL_FOLDER)
    blip, _ = evaluated(settings, places)
    pack(blip, folder / "packed")

    picture = pipelines.photograph()
    answer = loaded_elsewhere(folder / "packed", tmp_path, picture)

    assert answer["said"] == [{"caption": said} for said in baseline.caption([picture])]
    missing = imported(answer["own"], folder / "packed" / "code") - {*NEEDED, *NEEDED_BY_BLIP}
    assert not missing, f"captioning imports {missing}, which the model's requirements do not name"


def imported(modules: list[str], code: Path) -> set[str]:
    """Distributions that the project's modules import where they are loaded, by the names pip has for them."""
    found: set[str] = set()
    owners = metadata.packages_distributions()
    for module in modules:
        path = code / Path(*module.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in (name.split(".")[0] for name in names):
                found |= {owner.lower().replace("_", "-") for owner in owners.get(name, [])[:1]}
    return found


@pytest.mark.parametrize(("side", "most"), [(8, serving.BATCH), (5000, 2), (9000, 1)])
def test_no_more_pictures_are_decoded_at_once_than_are_captioned(
    monkeypatch: pytest.MonkeyPatch, side: int, most: int
) -> None:
    """But for the one that no longer fits, which is decoded to be seen."""
    decoded: list[int] = []
    held: list[int] = []

    def captions(pictures: list[SimpleNamespace]) -> list[str]:
        held.append(len(pictures))
        assert len(decoded) <= len(pictures) + 1
        del decoded[: len(pictures)]
        return [f"picture {picture.number}" for picture in pictures]

    def picture(value: object, number: int) -> SimpleNamespace:
        decoded.append(number)
        return SimpleNamespace(number=number, width=side, height=side)

    monkeypatch.setattr(serving, "_picture", picture)
    model = serving.Served()
    model._captions = captions  # type: ignore[assignment]
    said = model.predict(None, pd.DataFrame({"image": ["picture"] * 40}))  # type: ignore[arg-type]
    assert [one["caption"] for one in said] == [f"picture {number}" for number in range(40)]
    assert max(held) == most


def test_a_blip_that_spoke_in_fp16_is_served_without_a_gpu(tmp_path: Path) -> None:
    spoke = config.Baseline(checkpoint="tiny", precision="fp16")
    Baseline.tiny(spoke, tiny.vocabulary()).save(tmp_path / "blip")
    [said] = serving._blip(tmp_path / "blip", spoke.model_dump(mode="json"))([pipelines.photograph()])
    assert isinstance(said, str)


def test_a_packed_model_holds_no_pickle(packed: Path) -> None:
    suffixes = {path.suffix for path in packed.rglob("*") if path.is_file()}

    assert not suffixes & {".pkl", ".pickle", ".pt", ".pth", ".bin", ".cloudpickle"}
    assert ".safetensors" in suffixes


def test_a_packed_model_does_not_say_where_it_was_made(packed: Path) -> None:
    described = (packed / "MLmodel").read_text()
    assert str(PROJECT) not in described and tempfile.gettempdir() not in described


def test_requirements_are_the_locks(packed: Path) -> None:
    lines = (packed / "requirements.txt").read_text().splitlines()

    assert set(requirements()) <= set(lines)
    assert any(line.startswith("torch==") for line in lines)
    assert len(lines) == len(NEEDED)


Ask = Callable[[Any], tuple[int, Any]]


@pytest.fixture
def ask(tmp_path: Path, registry: Registry, root: Path) -> Iterator[Ask]:
    """A function that sends a value to `mlflow models serve` of the champion, and returns status and answer."""
    folder = pipelines.pipeline(tmp_path / "run")
    promote(pipelines.settings(folder), Places.below(folder), registry)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/captioner@{CHAMPION}"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=elsewhere() | {"MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlruns/mlflow.db"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            assert server.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)

        def ask(value: Any) -> tuple[int, Any]:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            request = urllib.request.Request(
                f"{address}/invocations", data, {"Content-Type": "application/json"}, method="POST"
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        yield ask
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(20)


@pytest.mark.slow
def test_a_served_champion_captions_pictures_and_refuses_what_is_none(ask: Ask, registry: Registry) -> None:
    pictures = [pipelines.photograph(seed) for seed in range(2)]
    images = [encoded(picture) for picture in pictures]
    captioner = registry.captioner(CHAMPION)
    expected = [found[0].sentence for found in caption(captioner, pictures, captioner.decode)]

    for question in (
        {"dataframe_records": [{"image": image} for image in images]},
        {"dataframe_split": {"columns": ["image"], "data": [[image] for image in images]}},
        {"inputs": {"image": images}},
    ):
        status, answer = ask(question)
        assert (status, [row["caption"] for row in answer["predictions"]]) == (200, expected)

    garbage = {
        "not base64": {"dataframe_records": [{"image": "no picture!"}]},
        "not an image": {"dataframe_records": [{"image": base64.b64encode(b"hello" * 9).decode()}]},
        "half an image": {"dataframe_records": [{"image": images[0][: len(images[0]) // 8 * 4]}]},
        "a number": {"dataframe_records": [{"image": 7}]},
        "null": {"dataframe_records": [{"image": None}]},
        "another column": {"dataframe_records": [{"picture": images[0]}]},
        "too many": {"dataframe_records": [{"image": images[0]}] * 65},
        "another question": {"hello": 1},
        "no JSON": b"\xff\x00{",
        "nothing": b"",
    }
    refused = {what: ask(question)[0] for what, question in garbage.items()}
    assert refused == dict.fromkeys(garbage, 400)

    assert ask({"inputs": {"image": images[:1]}})[0] == 200


def test_a_registered_model_has_the_search_it_was_evaluated_with(promoted: Any, registry: Registry) -> None:
    promoted()

    with registry.files(registry.named(CHAMPION), f"{FOLDER}/artifacts/bundle/config.json") as config:
        stored = json.loads(config.read_text())["decode"]
    assert {name: stored[name] for name in pipelines.SEARCH} == pipelines.SEARCH
