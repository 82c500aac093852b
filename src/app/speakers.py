"""Who captions on the page: the champion, the best LSTM and GRU beside it, and BLIP, as many as there are now."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from src import config
from src.contenders import BASELINE as BLIP
from src.contenders import ORDER
from src.errors import UserError
from src.models.baseline import ABSENT_FILE, NONE, Baseline, speakable
from src.models.captioner import CONFIG_FILE, Captioner
from src.places import Places
from src.registry.evaluated import opened, parameters

LOOK_SECONDS = 15.0
"""How long a new champion may stay unnoticed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speaker:
    """A model that captions pictures.

    Attributes:
        name: LSTM, GRU or BLIP.
        origin: which one it is: "version 3", "tiny".
    """

    name: str
    origin: str
    model: Captioner | Baseline
    champion: bool = False


@dataclass(frozen=True)
class Cast:
    """The speakers, the champion first.

    Attributes:
        notes: what could not be looked for or loaded, and why, in sentences.
    """

    speakers: tuple[Speaker, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Speaker:
        """The champion, or who comes nearest to it.

        Raises:
            UserError: nobody is there, and why.
        """
        if not self.speakers:
            raise UserError(" ".join(self.notes) or NOBODY)
        return self.speakers[0]


NOBODY = (
    "No model is trained yet. Run `make repro`: it trains an LSTM, a GRU and a small BLIP, and this page finds them."
)


@dataclass(frozen=True)
class _Wanted:
    """A model to load; equal ones are loaded once.

    Attributes:
        name: empty for the bundle of the last pipeline run.
        version: empty for models that are not registered.
        content: changes with the model.
    """

    name: str
    version: str
    content: object
    champion: bool = field(default=False, compare=False)


@dataclass
class Speakers:
    """Loads the models, and those that take their places; shared by all visitors."""

    places: Places
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    parameters: Path = Path("params.yaml")
    _cast: Cast = field(default_factory=Cast)
    _recurrent: tuple[_Wanted, ...] = ()
    _loaded: dict[_Wanted, Speaker] = field(default_factory=dict)
    _looked: float | None = None
    _looking: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> Cast:
        """The models there are.

        Every LOOK_SECONDS one visitor looks for others and loads them. Meanwhile the rest go on with those there are;
        all wait for the very first.
        """
        if self._due() and self._looking.acquire(blocking=self._looked is None):
            try:
                if self._due():
                    self._cast = self._look()
                    self._looked = time.monotonic()
            finally:
                self._looking.release()
        return self._cast

    def _due(self) -> bool:
        return self._looked is None or time.monotonic() - self._looked >= LOOK_SECONDS

    def _look(self) -> Cast:
        """What cannot be had now costs a note, and is tried again at the next look."""
        notes: list[str] = []
        try:
            self._recurrent = tuple(self._registered()) or tuple(self._trained())
        except Exception as error:  # MLflow's, the database's or the network's; those known before are still wanted
            notes.append(f"The registry cannot be read: {_reason(error)}.")
        loaded: dict[_Wanted, Speaker] = {}
        for one in (*self._recurrent, *self._evaluated()):
            try:
                if speaker := self._loaded.get(one) or self._load(one):
                    loaded[one] = replace(speaker, champion=one.champion)
            except Exception as error:
                notes.append(f"{one.name or 'The trained model'} cannot be loaded: {_reason(error)}.")
        self._loaded = loaded
        for note in notes:
            if note not in self._cast.notes:
                log.warning("%s", note)
        found = sorted(loaded.values(), key=lambda speaker: (not speaker.champion, ORDER.index(speaker.name)))
        return Cast(tuple(found), tuple(notes))

    def _registered(self) -> Iterator[_Wanted]:
        """The champion, and the best version of each other cell."""
        from src.registry.promotion import ranking
        from src.registry.versions import CHAMPION, Registry, holder

        versions = Registry().versions()
        champion = holder(CHAMPION, versions)
        if champion is None:
            return
        yield _Wanted(champion.name, str(champion.number), champion.digest, champion=True)
        told = {champion.name}
        for _, version in ranking(versions, champion.dataset, config.load(self.parameters).promote.metric):
            if version.name not in told:
                told.add(version.name)
                yield _Wanted(version.name, str(version.number), version.digest)

    def _trained(self) -> Iterator[_Wanted]:
        """The bundle of the last pipeline run."""
        bundle = self.places.model / CONFIG_FILE
        if bundle.exists():
            yield _Wanted("", "", (_written(bundle), _written(self.places.parameters)))

    def _evaluated(self) -> Iterator[_Wanted]:
        """BLIP, where a pipeline run has evaluated it."""
        report = self.places.baseline_report
        if report.exists() and not (self.places.baseline / ABSENT_FILE).exists():
            yield _Wanted(BLIP, "", (_written(report), _written(self.places.parameters)))

    def _load(self, wanted: _Wanted) -> Speaker | None:
        if wanted.name == BLIP:
            return self._baseline()
        captioner = self._captioner(wanted.version).to(self.device).ready()
        origin = f"version {wanted.version}" if wanted.version else "not evaluated yet"
        return Speaker(captioner.name, origin, captioner)

    def _captioner(self, version: str) -> Captioner:
        if not version:
            return opened(self.places.model, self.places)
        from src.registry.versions import Registry

        return Registry().captioner(version)

    def _baseline(self) -> Speaker | None:
        try:
            checkpoint = json.loads(self.places.baseline_report.read_text(encoding="utf-8"))["checkpoint"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.places.baseline_report} is damaged ({error!r}): run `dvc repro -f baseline`"
            ) from None
        if checkpoint == NONE or not self.places.baseline.exists():
            return None
        spoke = parameters(config.load(self.parameters), self.places).baseline
        settings = speakable(spoke.model_copy(update={"checkpoint": checkpoint}), self.device)
        return Speaker(BLIP, checkpoint, Baseline.load(self.places, settings, self.device))


def _written(path: Path) -> int:
    """When the file was written; 0 where it is not there (DVC removes a stage's files before it runs)."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _reason(error: Exception) -> str:
    """What a visitor may read: the text of others' errors may hold credentials."""
    return str(error) if isinstance(error, UserError) else type(error).__name__
