"""Where a training run stands, as far as JSON can say it; the tensors are the trainer's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from src.training.adaptation import Controller


@dataclass
class Progress:
    """Where a run stands: all of it is saved with a state, as JSON.

    Attributes:
        step: optimiser steps done; what they exceed the finished epochs by is the position in the epoch.
        words, loss, norms: sums over the steps of the epoch under way: target words, nats, the `normed` finite gradient
            norms.
        history: one row per finished epoch.
        events: decisions and incidents, (epoch, text).
        reward: sum over the images of the epoch under way.
        seconds, images, captions: what the epoch under way took so far, and for how much; `waited` of the seconds for
            batches.
        phase: which of the learner's phases it is in; `phase_from` epochs were finished when that began.
        member_from: epochs that were finished when the present member began; `members` are the best epochs of those
            before it.
        micro_batch: images computed at once, after memory ran out.
    """

    step: int = 0
    words: float = 0.0
    loss: float = 0.0
    norms: float = 0.0
    normed: int = 0
    best_epoch: int = 0
    best_cider: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)
    events: list[tuple[int, str]] = field(default_factory=list)
    reward: float = 0.0
    seconds: float = 0.0
    waited: float = 0.0
    images: int = 0
    captions: int = 0
    phase: int = 0
    phase_from: int = 0
    member_from: int = 0
    members: list[int] = field(default_factory=list)
    micro_batch: int | None = None
    controller: Controller = field(default_factory=Controller)
    run_id: str = ""

    @classmethod
    def layout(cls) -> list[object]:
        """What its JSON means, as a part of a run's identity: no run goes on from a state that means something else.

        The number is counted up when a meaning changes that no name tells of.
        """
        return [1, *(own.name for kind in (cls, Controller) for own in fields(kind))]

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Progress:
        controller = Controller(**record["controller"])
        events = [(epoch, text) for epoch, text in record["events"]]
        return cls(**{**record, "controller": controller, "events": events})
