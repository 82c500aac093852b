"""One version per content: an evaluated model becomes a folder that MLflow can serve, and a version with its facts."""

from __future__ import annotations

import json
import shutil
import tempfile
import tomllib
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import yaml

from src import tracking
from src.config import Decode
from src.files import write_json
from src.models.captioner import CONFIG_FILE
from src.registry.card import card
from src.registry.evaluated import SEARCH_TAG, Evaluated
from src.registry.versions import FOLDER, Registry, Version

CARD_FILE = "README.md"
PARAMETERS_FILE = "parameters.json"
DETAILS_FILE = "eval-metrics.json"
EVALUATION_FOLDER = "evaluation"
COMMIT_TAG, UNCOMMITTED_TAG, EXPERIMENT_TAG = "mlflow.source.git.commit", "git.uncommitted_code", "dvc.experiment"
ORIGINS = (COMMIT_TAG, UNCOMMITTED_TAG, EXPERIMENT_TAG, "embeddings.digest", "torch", "cpu", "gpu", "threads")
"""What a version repeats of its run's tags."""
PROJECT = Path(__file__).parents[2]
SERVED = Path(__file__).with_name("served.py")
NEEDED = (
    "mlflow",
    "torch",
    "torchvision",
    "efficientnet-lite-pytorch",
    "safetensors",
    "jaxtyping",
    "tqdm",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "pyyaml",
    "rich",
    "scipy",
)
"""Distributions that captioning a picture imports."""
NEEDED_BY_BLIP = ("transformers", "huggingface-hub", "nltk")


def register(model: Evaluated, registry: Registry, commit: str = "", experiment: str = "") -> Version:
    """The version of a model's content, made if there is none.

    Weights that were registered before are not registered again, whatever search they are evaluated with later. New
    figures are added where the search is the same.

    Args:
        commit: the commit whose files these are, where the model's run does not know.
        experiment: the DVC experiment, likewise.
    """
    if known := registry.holding(model.digest, model.dataset):
        if known.tags.get(SEARCH_TAG) == model.tags[SEARCH_TAG]:  # a metric may have come since
            registry.tag(known, {name: value for name, value in model.tags.items() if name not in known.tags})
        return known
    run = tracking.attach(model.run_id, name=model.name, settings=model.settings)
    known_origin = {COMMIT_TAG: commit, UNCOMMITTED_TAG: "false" if commit else "", EXPERIMENT_TAG: experiment}
    for name, value in known_origin.items():
        if value:
            run.tag(name, value)
    kept = {Path(file.path).name for file in registry.client.list_artifacts(run.id, EVALUATION_FOLDER)}
    if not kept:  # a store that has lost the model's own run
        run.summary({name: value for name, value in model.figures.items() if name.startswith("test_")})
    for file in (model.scores, model.details):
        if file.exists() and file.name not in kept:
            run.artifact(file, EVALUATION_FOLDER)
    facts = registry.client.get_run(run.id).data.tags
    tags = model.tags | {"run_id": run.id} | {name: facts[name] for name in ORIGINS if name in facts}
    text = card(model, tags)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / FOLDER
        pack(model, folder)
        (folder / CARD_FILE).write_text(text, encoding="utf-8")
        write_json(folder / PARAMETERS_FILE, model.settings.model_dump(mode="json"))
        if model.details.exists():  # as it was evaluated now; a later evaluation may search otherwise
            shutil.copyfile(model.details, folder / DETAILS_FILE)
        run.artifact(folder, FOLDER)
    return registry.add(run.id, tags | {"servable": str(model.bundle is not None).lower()}, text)


def pack(model: Evaluated, folder: Path) -> None:
    """Make the folder that `mlflow.pyfunc.load_model` and `mlflow models serve` read, with all that they need in it.

    A published checkpoint that was used as it is has no weights here: its folder stays without a model.
    """
    if model.bundle is None:
        folder.mkdir(parents=True)
        return
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an input example would be run, which costs seconds
        bundle = Path(temporary) / "bundle"
        shutil.copytree(model.bundle, bundle)
        if model.recurrent:
            _search(bundle / CONFIG_FILE, model.settings.decode)
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(SERVED),
            artifacts={"bundle": str(bundle)},
            model_config={} if model.recurrent else {"baseline": model.settings.baseline.model_dump(mode="json")},
            code_paths=[str(PROJECT / "src")],
            pip_requirements=requirements(NEEDED if model.recurrent else (*NEEDED, *NEEDED_BY_BLIP)),
            signature=ModelSignature(
                inputs=Schema([ColSpec(DataType.string, "image")]),
                outputs=Schema([ColSpec(DataType.string, "caption")]),
            ),
        )
    _forget_paths(folder)


def _forget_paths(folder: Path) -> None:
    """MLflow notes where on this machine code and weights were taken from; they lie in the folder itself."""
    described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    flavor = described["flavors"]["python_function"]
    flavor["model_code_path"] = SERVED.name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    (folder / "MLmodel").write_text(yaml.safe_dump(described), encoding="utf-8")


def _search(config: Path, decode: Decode) -> None:
    """Put the search that the figures were measured with into a captioner's configuration."""
    stored = json.loads(config.read_text(encoding="utf-8"))
    write_json(config, stored | {"decode": decode.model_dump(mode="json")})


def requirements(names: Sequence[str] = NEEDED) -> list[str]:
    """Distributions with versions: the lock's, else as pyproject.toml bounds them, else those installed."""
    lock, project = PROJECT / "requirements.lock", PROJECT / "pyproject.toml"
    pinned = lock.read_text(encoding="utf-8").splitlines() if lock.exists() else []
    bounded = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"] if project.exists() else []
    lines = {_distribution(line): line.strip() for line in [*bounded, *pinned] if line.strip()}
    return [lines.get(name) or f"{name}=={metadata.version(name)}" for name in names]


def _distribution(line: str) -> str:
    name = line.partition(";")[0]
    for sign in "=<>!~[ ":
        name = name.partition(sign)[0]
    return name.strip().lower().replace("_", "-")
