"""The MLflow registered model `captioner`: its versions and their aliases, as plain values.

| alias | points at |
|---|---|
| `champion` | the recurrent model to use: `models:/captioner@champion` |
| `previous` | the champion before it, which `rollback` returns to |
| `challenger` | the newest recurrent model |
| `baseline` | BLIP, evaluated on the newest data |
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import store
from src.contenders import BASELINE as BLIP
from src.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from src.models.captioner import Captioner

MODEL = "captioner"
CHAMPION, PREVIOUS, CHALLENGER, BASELINE = ("champion", "previous", "challenger", "baseline")
FOLDER = "registered"
"""Where a run keeps the model that was registered from it."""
DESCRIPTION_LIMIT = 5000
"""Characters that MLflow keeps of a description."""
FILL = "`python -m src.registry sync` finds those of a deleted store, `dvc repro` trains, evaluates and registers one"
"""What to do where nothing is registered."""
WITHDRAWN_TAG = "promotion.withdrawn"


@dataclass(frozen=True)
class Version:
    """One registered model.

    Attributes:
        name: what tables call it: LSTM, GRU, BLIP.
        digest: names its content.
        dataset: digest of the manifest (images, captions, split) that it learnt from and was measured on.
        tags: everything else that is known, figures of both splits ('val_CIDEr', 'test_METEOR') included.
    """

    number: int
    name: str
    digest: str
    dataset: str
    run_id: str
    tags: Mapping[str, str]
    aliases: frozenset[str]
    created: datetime

    @property
    def recurrent(self) -> bool:
        return self.name != BLIP

    @property
    def withdrawn(self) -> bool:
        """Somebody rolled back from it: it does not become champion by itself again."""
        return WITHDRAWN_TAG in self.tags

    def figure(self, name: str) -> float | None:
        return float(self.tags[name]) if name in self.tags else None

    def __str__(self) -> str:
        return f"version {self.number} ({self.name})"


class Registry:
    """Reads and writes versions and aliases; runs are written by `src.tracking` alone.

    A store that is not there has no versions; only writing makes it.
    """

    def __init__(self, client: MlflowClient | None = None) -> None:
        self._client = client

    @property
    def client(self) -> MlflowClient:
        """Raises StoreError: the store cannot be opened."""
        self._client = self._client or store.connect()
        return self._client

    def versions(self) -> list[Version]:
        """All versions, oldest first; none when nothing was ever registered.

        Raises:
            StoreError: the store cannot be opened.
        """
        if self._client is None and not store.exists():
            return []
        found: list[Any] = []
        token = None
        while token is None or token:
            page = self.client.search_model_versions(f"name = '{MODEL}'", page_token=token)
            found += page
            token = page.token or ""
        aliases = self._aliases() if found else {}
        return sorted((_version(one, aliases) for one in found), key=lambda version: version.number)

    def named(self, reference: str) -> Version:
        """The version of an alias or a number.

        Raises:
            UserError: there is none.
        """
        versions = self.versions()
        for version in versions:
            if reference in version.aliases or reference == str(version.number):
                return version
        known = sorted({alias for version in versions for alias in version.aliases})
        raise UserError(
            f"no registered model is called {reference!r} (aliases: {', '.join(known) or 'none'}; versions: "
            f"{len(versions)}): {FILL if not versions else 'see `python -m src.registry list`'}"
        )

    def holding(self, digest: str, dataset: str) -> Version | None:
        """The version of this content on this data: a published checkpoint may be measured on several."""
        return next(
            (version for version in self.versions() if (version.digest, version.dataset) == (digest, dataset)), None
        )

    def add(self, run_id: str, tags: Mapping[str, str], description: str) -> Version:
        """Make a version of the model that the run keeps under FOLDER.

        Another machine that registered the same content meanwhile was first: its version is returned.
        """
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(MODEL, description="Image captioners: CNN features, LSTM or GRU; BLIP.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self.client.get_run(run_id).info.artifact_uri}/{FOLDER}"
        text = description[:DESCRIPTION_LIMIT]
        made = self.client.create_model_version(
            MODEL, source, run_id, dict(tags), description=text, await_creation_for=0
        )
        first = self.holding(tags["digest"], tags["dataset.digest"])
        if first is None:
            raise RuntimeError(f"MLflow does not show version {made.version} of {MODEL}, which it has just made")
        if first.number != int(made.version):
            self.client.delete_model_version(MODEL, made.version)
        return first

    def point(self, alias: str, version: Version | None) -> None:
        """Give the alias to a version, or to none."""
        if version is None:
            self.client.delete_registered_model_alias(MODEL, alias)
        else:
            self.client.set_registered_model_alias(MODEL, alias, str(version.number))

    def tag(self, version: Version, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            self.client.set_model_version_tag(MODEL, str(version.number), name, value)

    def untag(self, version: Version, name: str) -> None:
        self.client.delete_model_version_tag(MODEL, str(version.number), name)

    @contextmanager
    def files(self, version: Version, path: str) -> Iterator[Path]:
        """A copy of a file or folder of the version's run, gone when the block ends.

        Raises:
            UserError: the run does not have it.
        """
        with tempfile.TemporaryDirectory() as temporary:
            try:
                copy = self.client.download_artifacts(version.run_id, path, temporary)
            except Exception as error:
                raise UserError(f"{path} of {version} cannot be fetched from run {version.run_id} ({error})") from None
            yield Path(copy)

    def text(self, version: Version, path: str) -> str:
        """A file of the version's run. Raises UserError: the run does not have it."""
        with self.files(version, path) as copy:
            return copy.read_text(encoding="utf-8")

    def captioner(self, reference: str) -> Captioner:
        """Load a registered model by alias or number, with the search it was evaluated with.

        Raises:
            UserError: there is no such version, or it is no recurrent captioner.
        """
        from src.models.captioner import Captioner

        version = self.named(reference)
        if not version.recurrent:
            raise UserError(
                f"{version} is no LSTM or GRU: take another alias or version (`python -m src.registry list`)"
            )
        with self.files(version, f"{FOLDER}/artifacts/bundle") as folder:
            return Captioner.load(folder)

    def _aliases(self) -> dict[int, set[str]]:
        # `search_model_versions` leaves the versions' own aliases empty.
        held: dict[int, set[str]] = {}
        for alias, number in self.client.get_registered_model(MODEL).aliases.items():
            held.setdefault(int(number), set()).add(alias)
        return held


def holder(alias: str, versions: list[Version]) -> Version | None:
    """The version that has the alias."""
    return next((version for version in versions if alias in version.aliases), None)


def _version(found: Any, aliases: Mapping[int, set[str]]) -> Version:
    tags, number = dict(found.tags), int(found.version)
    return Version(
        number=number,
        name=tags.get("model", "?"),
        digest=tags.get("digest", ""),
        dataset=tags.get("dataset.digest", ""),
        run_id=str(found.run_id),
        tags=tags,
        aliases=frozenset(aliases.get(number, ())),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
    )
