"""Who captions on the page: the champion, the best LSTM and GRU beside it, and BLIP, as many as there are now."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from src import config, store
from src.contenders import BASELINE as BLIP
from src.contenders import ORDER
from src.errors import UserError
from src.models.baseline import ABSENT_FILE, NONE, Baseline
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
        notes: which model is missing, and why, in sentences.
    """

    speakers: tuple[Speaker, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> Speaker:
        """The champion, or who comes nearest to it.

        Raises:
            UserError: nobody is there.
        """
        if not self.speakers:
            raise UserError(NOBODY)
        return self.speakers[0]


NOBODY = (
    "No model is trained yet. Run `make repro`: it trains an LSTM, a GRU and a small BLIP, and this page finds them."
)


@dataclass(frozen=True)
class _Wanted:
    """A model to load. `version` is empty for the bundle of the last pipeline run."""

    name: str
    version: str
    digest: str
    champion: bool = False


@dataclass
class Speakers:
    """Loads the models, and loads them anew when others have taken their places; shared by all visitors."""

    places: Places
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    parameters: Path = Path("params.yaml")
    _cast: Cast = field(default_factory=Cast)
    _seen: object = None
    _looked: float = -LOOK_SECONDS
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> Cast:
        """The models there are. Looks for changes every LOOK_SECONDS, one visitor for all."""
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                wanted, notes = self._wanted()
                files = (self.places.baseline_report, self.places.model / CONFIG_FILE, self.places.parameters)
                seen = (wanted, notes, *_changed(*files))
                if seen != self._seen:
                    self._cast = self._load(wanted, notes)
                    self._seen = seen
                self._looked = time.monotonic()
            return self._cast

    def _wanted(self) -> tuple[tuple[_Wanted, ...], tuple[str, ...]]:
        """The recurrent models to load, the champion first."""
        try:
            registered = tuple(self._registered())
        except UserError as error:
            return (), (f"The registry cannot be read: {error}.",)
        if registered:
            return registered, ()
        if (self.places.model / CONFIG_FILE).exists():
            return (_Wanted("", "", ""),), ()
        return (), ()

    def _registered(self) -> Iterator[_Wanted]:
        if not store.exists():
            return
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

    def _load(self, wanted: tuple[_Wanted, ...], notes: tuple[str, ...]) -> Cast:
        found: list[Speaker] = []
        missing = list(notes)
        for one in wanted:
            try:
                captioner = self._captioner(one).to(self.device)
            except UserError as error:
                missing.append(f"{one.name or 'The trained model'} cannot be loaded: {error}.")
                continue
            origin = f"version {one.version}" if one.version else "not evaluated yet"
            found.append(Speaker(captioner.name, origin, captioner, one.champion))
        try:
            baseline = self._baseline()
            if baseline is not None:
                found.append(baseline)
        except UserError as error:
            missing.append(f"{BLIP} cannot be loaded: {error}.")
        found.sort(key=lambda speaker: (not speaker.champion, ORDER.index(speaker.name)))
        for note in missing:
            log.warning("%s", note)
        return Cast(tuple(found), tuple(missing))

    def _captioner(self, wanted: _Wanted) -> Captioner:
        if not wanted.version:
            return opened(self.places.model, self.places)
        from src.registry.versions import Registry

        return Registry().captioner(wanted.version)

    def _baseline(self) -> Speaker | None:
        if not self.places.baseline_report.exists() or (self.places.baseline / ABSENT_FILE).exists():
            return None
        try:
            checkpoint = json.loads(self.places.baseline_report.read_text(encoding="utf-8"))["checkpoint"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.places.baseline_report} is damaged ({error!r}): run `dvc repro -f baseline`"
            ) from None
        if checkpoint == NONE or not self.places.baseline.exists():
            return None
        spoke = parameters(config.load(self.parameters), self.places).baseline
        settings = spoke.model_copy(update={"checkpoint": checkpoint})
        return Speaker(BLIP, checkpoint, Baseline.load(self.places, settings, self.device))


def _changed(*paths: Path) -> tuple[int, ...]:
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)
