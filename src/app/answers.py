"""What the models say of a picture, side by side, with the time each took and where each word looked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from src.app.speakers import Cast, Speaker
from src.config import Decode
from src.data.sentence import sentence
from src.decoding.describe import Caption, describe
from src.models.captioner import Captioner

AT_ONCE = 2
"""Pictures that are captioned at the same moment; other visitors wait for their turn."""
MOST_BEAMS = 10
MOST_ALTERNATIVES = 5
LIVE_BEAMS = 3


@dataclass(frozen=True)
class Said:
    """One caption.

    Attributes:
        words: as the model said them.
        certainty: the geometric mean of the probabilities of its words and, where there was room for it, of its end;
            None where the model does not tell.
        looks: of each word its share of attention in each region, row by row; None where the model does not tell.
    """

    words: tuple[str, ...]
    certainty: float | None = None
    looks: tuple[tuple[float, ...], ...] | None = None

    @property
    def sentence(self) -> str:
        return sentence(" ".join(self.words))


@dataclass(frozen=True)
class Answer:
    """One model's captions of a picture, best first.

    Attributes:
        seconds: from pixels to captions.
        rows, columns: of the grid that `looks` lie on; 0 where there is none.
    """

    name: str
    origin: str
    champion: bool
    said: tuple[Said, ...]
    seconds: float
    rows: int = 0
    columns: int = 0


@dataclass
class Turns:
    """Lets so many callers compute at once."""

    at_once: int = AT_ONCE
    _free: BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        self._free = BoundedSemaphore(self.at_once)

    @contextmanager
    def taken(self, patience: float | None = None) -> Iterator[bool]:
        """A turn for the block: False where none was free within `patience` seconds (None: waits)."""
        free = self._free.acquire(timeout=patience)
        try:
            yield free
        finally:
            if free:
                self._free.release()


def answers(picture: Image.Image, cast: Cast, beam_size: int | None, alternatives: int) -> list[Answer]:
    """Every speaker's captions of an RGB picture, in the order of the cast.

    Models that share an encoder look at the picture once; the time of looking counts for each.

    Args:
        beam_size: of every model's search; None: of each its own, with which it was evaluated.
        alternatives: captions of each model, as far as its search finds so many.
    """
    seen: dict[object, tuple[Float[Tensor, "image region feature"], float]] = {}
    found = []
    for speaker in cast.speakers:
        if isinstance(speaker.model, Captioner):
            grid = speaker.model.provenance
            if grid not in seen:
                seen[grid] = _timed_grids(speaker.model, picture)
            found.append(_recurrent(speaker, speaker.model, *seen[grid], beam_size, alternatives))
        else:
            found.append(_blip(speaker, picture, beam_size))
    return found


def live(picture: Image.Image, cast: Cast) -> Answer:
    """The first speaker's caption of a video frame.

    Raises:
        UserError: there is no speaker.
    """
    return answers(picture, Cast((cast.first,)), LIVE_BEAMS, 1)[0]


def _timed_grids(captioner: Captioner, picture: Image.Image) -> tuple[Float[Tensor, "image region feature"], float]:
    start = time.perf_counter()
    grids = captioner.grids([picture])
    return grids, time.perf_counter() - start


def _recurrent(
    speaker: Speaker,
    captioner: Captioner,
    grids: Float[Tensor, "image region feature"],
    looking: float,
    beam_size: int | None,
    alternatives: int,
) -> Answer:
    settings = captioner.decode
    if beam_size is not None:
        settings = Decode.model_validate({**settings.model_dump(), "beam_size": beam_size})
    start = time.perf_counter()
    with torch.inference_mode():
        [captions] = describe(captioner.decoder, captioner.vocabulary, grids, settings, captioner.expectation)
    return Answer(
        speaker.name,
        speaker.origin,
        speaker.champion,
        tuple(_said(caption, settings.max_words) for caption in captions[:alternatives]),
        looking + time.perf_counter() - start,
        captioner.provenance.rows,
        captioner.provenance.columns,
    )


def _said(caption: Caption, max_words: int) -> Said:
    looks: Sequence[Sequence[float]] = caption.attention.float().tolist()
    certainty = math.exp(caption.log_probability / min(len(caption.words) + 1, max_words))
    return Said(caption.words, certainty, tuple(tuple(look) for look in looks))


def _blip(speaker: Speaker, picture: Image.Image, beam_size: int | None) -> Answer:
    model = speaker.model
    assert not isinstance(model, Captioner)
    if beam_size is not None:
        model = replace(model, settings=model.settings.model_copy(update={"beam_size": beam_size}))
    start = time.perf_counter()
    [text] = model.caption([picture])
    words = tuple(text.rstrip(" .").split())
    return Answer(speaker.name, speaker.origin, speaker.champion, (Said(words),), time.perf_counter() - start)
