"""A search's study: where it is kept, and what makes it this one and no other."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import optuna
from filelock import FileLock
from optuna import Study
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

from src.config import Settings, fingerprint
from src.data.manifest import Manifest
from src.data.vocabulary import VOCABULARY_FILE, Vocabulary
from src.encoders.cache import Embeddings
from src.errors import UserError
from src.places import Places, search_folder
from src.store import redacted
from src.training.train import taught_captions
from src.tune.journal import open_journal
from src.tune.pruning import pruner
from src.tune.suggestions import SeededByTrial, own

JOURNAL = "journal.log"
COMMAND_FILE = "best.sh"
"""In the study's folder, where anything is better than params.yaml: the experiment that trains the best to its end."""
STORAGE_VARIABLE = "OPTUNA_STORAGE"
"""As Optuna's own command reads it."""
PREFIX = "captionlab-"
"""Of every study's name: others may keep theirs in the same database."""
TRIES = 3
"""To open a database: the first processes may make its tables at the same moment."""

IDENTITY, RUN, TICKET = "identity", "run", "ticket"
"""Attributes of a study: what it depends on, its MLflow run, and what that can be called before it is there."""


@dataclass(frozen=True)
class Search:
    """A study, opened.

    Attributes:
        folder: of this study: its trials' states, its workers' logs, its result.
        hashes: digests of the inputs.
        news: how this study stands to those that are there already, in words.
    """

    study: Study
    storage: BaseStorage
    folder: Path
    settings: Settings
    hashes: Mapping[str, str]
    news: str

    @property
    def name(self) -> str:
        return self.study.study_name

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials() if trial.state.is_finished()]

    def id_of(self, number: int) -> int:
        """The storage's id of a trial."""
        study = self.storage.get_study_id_from_name(self.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study, number)

    def states(self, number: int) -> Path:
        """Where the state of an unfinished trial lies."""
        return self.folder / "states" / f"trial-{number}"

    def lock(self) -> FileLock:
        """One process of this machine at a time decides who does which trial."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / ".lock")

    @property
    def run_id(self) -> str:
        """Of the MLflow run that its trials' runs are nested in, the first that it had; empty when there is none yet.
        Another machine's store may have one in its place."""
        return str(self.study.user_attrs.get(RUN, ""))

    @property
    def ticket(self) -> str:
        return str(self.study.user_attrs[TICKET])


def open_search(settings: Settings, places: Places, address: str | None = None, only: str | None = None) -> Search:
    """Open the study of these parameters on this data; a new one begins with params.yaml as it is.

    Args:
        address: an Optuna storage URL (postgresql://...) or the path of a journal; None: the environment's
            OPTUNA_STORAGE, else mlruns/optuna/journal.log.
        only: the name of the one study that is wanted.

    Raises:
        UserError: inputs are missing or of another dataset, the storage cannot be opened, there is nothing to search,
            params.yaml lies outside its own space, or this is another study than the wanted one.
    """
    if not settings.tune.space:
        raise UserError("tune.space is empty: name in params.yaml what may be tried (src/search_space.py shows how)")
    first = own(settings)
    manifest = Manifest.load(places.dataset)
    if (there := {image.dataset for image in manifest.images}) != set(settings.dataset.names):
        raise UserError(
            f"{places.dataset} holds {'+'.join(sorted(there))}, params.yaml names {settings.dataset.name}: run "
            "`dvc repro embed`"
        )
    vocabulary = Vocabulary.load(places.dataset / VOCABULARY_FILE)
    embeddings = Embeddings.open(places.embeddings, manifest, settings.embed)
    tune = settings.tune
    identity = {
        "the data": fingerprint(taught_captions(manifest, settings, places).digest, vocabulary.words),
        "the embeddings": embeddings.digest,
        "tune.space": fingerprint({key: entry.model_dump(mode="json") for key, entry in tune.space.items()}),
        "the seed": str(settings.seed),
        "the way to search": fingerprint(tune.model_dump(exclude={"space", "trials", "workers", "timeout"})),
        "other parameters": fingerprint(
            settings.model,
            settings.train.model_dump(exclude={"epochs", "restarts", "processes", "save_every_steps"}),
            settings.prepare.max_words,
            settings.decode.max_words,
        ),
    }
    name = f"{PREFIX}{fingerprint(identity)}"
    if only is not None and name != only:
        raise UserError(
            f"params.yaml or what it is prepared from has changed since study {only} began: put it back to go on with "
            "that, or give `python -m src.tune` again for the search that it describes now"
        )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(address or os.environ.get(STORAGE_VARIABLE) or None)
    news = _news(storage, name, identity)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=SeededByTrial(settings),
        pruner=pruner(tune),
    )
    hashes = {"dataset": manifest.digest, "embeddings": embeddings.digest}
    search = Search(study, storage, search_folder() / name, settings, hashes, news)
    with search.lock():
        if not study.user_attrs.get(IDENTITY):
            study.set_user_attr(IDENTITY, identity)
        if TICKET not in study.user_attrs:
            study.set_user_attr(TICKET, secrets.token_hex(16))
        if not search.trials():
            study.enqueue_trial(first, skip_if_exists=True)
    return search


def open_storage(address: str | None) -> BaseStorage:
    """A database by its URL, a journal by its path, the repository's own journal for None.

    Raises:
        UserError: it cannot be opened.
    """
    if address is None:
        return open_journal(search_folder() / JOURNAL)
    if "://" not in address:
        return open_journal(Path(address))
    if address.startswith("postgresql://"):  # SQLAlchemy would look for psycopg 2
        address = address.replace("postgresql://", "postgresql+psycopg://", 1)
    for left in reversed(range(TRIES)):
        try:
            return RDBStorage(address, engine_kwargs={"pool_pre_ping": True})
        except Exception as error:
            if not left:
                # `from None`: the driver's own words may spell out the credentials.
                raise UserError(
                    f"the study's storage {redacted(address)} cannot be opened ({type(error).__name__}): start it or "
                    f"correct --storage, or leave that out to keep studies in {search_folder() / JOURNAL}"
                ) from None
            time.sleep(1)
    raise AssertionError


def _news(storage: BaseStorage, name: str, identity: Mapping[str, str]) -> str:
    others = storage.get_all_studies()
    for study in others:
        if study.study_name == name:
            trials = storage.get_all_trials(study._study_id, deepcopy=False)
            done = sum(trial.state.is_finished() for trial in trials)
            if not done:
                return f"study {name} has not finished a trial"
            return f"study {name} goes on: {done} {'trials are' if done > 1 else 'trial is'} done"
    latest = next((study for study in reversed(others) if IDENTITY in study.user_attrs), None)
    if latest is None:
        return f"study {name} begins"
    former = latest.user_attrs[IDENTITY]
    changed = [part for part, value in identity.items() if former.get(part) != value]
    return f"study {name} begins anew, for {', '.join(changed)} changed since {latest.study_name}"
