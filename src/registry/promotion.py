"""Which model is the champion: decided on figures of the validation images, on the same data, and never otherwise.

Champions are compared within one dataset (the digest of images, captions and split). When the data changes, figures of
the old champion say nothing about the new data: its best model takes over, and the old champion stays as `previous`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from src import store
from src.config import Promote, Settings
from src.contenders import BASELINE as BLIP
from src.errors import UserError
from src.places import Places
from src.registry.evaluated import evaluated
from src.registry.registration import register
from src.registry.versions import (
    BASELINE,
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    WITHDRAWN_TAG,
    Registry,
    Version,
    holder,
)

ROUNDS = 10
"""Decisions after which processes on other machines must have come to rest."""
SLACK = 1e-9
"""Differences below this are rounding."""


@dataclass(frozen=True)
class Decision:
    """What is to become of the alias `champion`.

    Attributes:
        winner: who takes it; None when it stays where it is.
        reason: why, in a sentence.
    """

    winner: Version | None
    reason: str


def decide(versions: Sequence[Version], dataset: str, rule: Promote) -> Decision:
    """Hold the best recurrent version of a dataset against the champion, and against BLIP where that is asked for."""
    champion = holder(CHAMPION, list(versions))
    ranked = ranking(versions, dataset, rule.metric)
    if not ranked:
        return Decision(None, f"no LSTM or GRU on this data has {rule.metric}")
    value, best = ranked[0]
    figure = f"{best} has {rule.metric} {value:.4f}"
    if champion is not None and champion.number == best.number:
        return Decision(None, f"{best} is the champion already, with {rule.metric} {value:.4f}")
    if rule.require_baseline:
        blip = baseline(versions, dataset)
        theirs = blip.figure(rule.metric) if blip else None
        if blip is None or theirs is None:
            return Decision(None, f"promote.require_baseline: there is no BLIP with {rule.metric} on this data to beat")
        if value <= theirs + SLACK:
            return Decision(None, f"promote.require_baseline: {figure}, {blip} has {theirs:.4f}")
    if champion is None:
        return Decision(best, f"{figure}: the first champion")
    if champion.dataset != dataset:
        return Decision(
            best, f"{figure}, the best on this data; the champion before, {champion}, was measured on other data"
        )
    held = champion.figure(rule.metric)
    if held is None:
        return Decision(best, f"{figure}; the champion before, {champion}, has none")
    gain = value - held
    if gain <= SLACK or gain < rule.min_delta - SLACK:
        wanted = f"at least {rule.min_delta:g} more" if rule.min_delta else "more"
        return Decision(None, f"{figure}, the champion {champion} has {held:.4f}: {wanted} is wanted")
    return Decision(best, f"{figure}, the champion before, {champion}, had {held:.4f}")


def ranking(
    versions: Sequence[Version], dataset: str, metric: str, withdrawn: bool = False
) -> list[tuple[float, Version]]:
    """The recurrent versions of a dataset with their figures, best first; of equals the older.

    Args:
        withdrawn: whether those that were rolled back from follow, behind all others.
    """
    found = [
        (value, version)
        for version in versions
        if version.recurrent and version.dataset == dataset and (withdrawn or not version.withdrawn)
        if (value := version.figure(metric)) is not None
    ]
    return sorted(found, key=lambda entry: (entry[1].withdrawn, -entry[0], entry[1].number))


def baseline(versions: Sequence[Version], dataset: str) -> Version | None:
    """BLIP on this data: the one that has the alias, else the newest."""
    theirs = [version for version in versions if version.name == BLIP and version.dataset == dataset]
    return max(theirs, key=lambda version: (BASELINE in version.aliases, version.number), default=None)


def promote(settings: Settings, places: Places, registry: Registry | None = None, **origin: str) -> dict[str, Any]:
    """Register what a pipeline run has evaluated, let the best model be champion, and say what came of it.

    Any number of processes may do so at once: on one machine they take turns; several machines on a shared server
    look again after they have written, until nothing is left to change.

    Args:
        origin: facts that the models' runs do not know: 'commit' and 'experiment' of models restored from Git and DVC.

    Returns:
        The verdict on the pipeline run's own model, as reports/promotion.json holds it.

    Raises:
        UserError: something was not evaluated.
    """
    models = evaluated(settings, places)
    with store.deciding():
        registry = registry or Registry()
        for model in models:
            version = register(model, registry, **origin)
            if version.name == BLIP:
                registry.point(BASELINE, version)
        return _settle(version, settings.promote, registry)


def settle(rule: Promote, registry: Registry) -> dict[str, Any]:
    """Decide again among what is registered, on the data of the champion, or of the newest version if there is none.

    Raises:
        UserError: nothing is registered.
    """
    with store.deciding():
        versions = registry.versions()
        whose = holder(CHAMPION, versions) or _newest(versions)
        if whose is None:
            raise UserError("no LSTM or GRU is registered: train and evaluate one with `dvc repro`")
        return _settle(whose, rule, registry)


def rollback(registry: Registry | None = None) -> tuple[Version, Version]:
    """Let champion and previous change places; the champion before is not promoted by itself again.

    Done twice it is undone: whoever is returned to is no longer withdrawn, and nobody else is.

    Returns:
        The champion now, and the one before.

    Raises:
        UserError: there is nothing to go back to.
    """
    with store.deciding():
        registry = registry or Registry()
        versions = registry.versions()
        champion, previous = holder(CHAMPION, versions), holder(PREVIOUS, versions)
        # They are the same where a process was killed after the first of two aliases.
        if champion is None or previous is None or champion.number == previous.number:
            raise UserError("no champion before this one is registered: there is nothing to roll back to")
        if previous.withdrawn:
            registry.untag(previous, WITHDRAWN_TAG)
        else:
            registry.tag(champion, {WITHDRAWN_TAG: _now()})
        registry.point(CHAMPION, previous)
        registry.point(PREVIOUS, champion)
        registry.tag(previous, {"promotion.verdict": "promoted", "promotion.reason": f"rolled back to from {champion}"})
        registry.tag(champion, {"promotion.verdict": f"rolled back from, to version {previous.number}"})
        return registry.named(str(previous.number)), registry.named(str(champion.number))


def _settle(own: Version, rule: Promote, registry: Registry) -> dict[str, Any]:
    reasons: list[str] = []
    if own.withdrawn:
        reasons.append(f"{own} was rolled back from on {own.tags[WITHDRAWN_TAG]}")
    moved = False
    for _ in range(ROUNDS):
        versions = registry.versions()
        decision = decide(versions, own.dataset, rule)
        if decision.winner is None:
            break
        moved = True
        reasons.append(decision.reason)
        registry.tag(
            decision.winner,
            {"promotion.verdict": "promoted", "promotion.reason": decision.reason, "promotion.date": _now()},
        )
        if former := holder(CHAMPION, versions):
            registry.tag(former, {"promotion.verdict": f"replaced by version {decision.winner.number}"})
            registry.point(PREVIOUS, former)
        registry.point(CHAMPION, decision.winner)  # last: until then whoever decides again decides the same
    if not moved:
        reasons.append(decision.reason)
    registry.point(CHALLENGER, _newest(versions))
    versions = registry.versions()
    champion = holder(CHAMPION, versions)
    promoted = champion is not None and champion.number == own.number
    if not promoted:
        registry.tag(
            own,
            {"promotion.verdict": "not promoted", "promotion.reason": "; ".join(reasons), "promotion.date": _now()},
        )
    against = _against(champion, versions, rule.metric)
    if champion is not None and against is not None:
        words = "better" if against["better"] else "not better"
        text = f"{words} than BLIP: {rule.metric} {against['champion']:.4f}, BLIP {against['baseline']:.4f}"
        registry.tag(champion, {"promotion.against_baseline": text})
        reasons.append(f"the champion is {text}")
    return {
        "promoted": promoted,
        "reasons": reasons,
        "version": own.number,
        "champion": _described(champion, rule.metric),
        "previous": _described(holder(PREVIOUS, versions), rule.metric),
        "challenger": _described(holder(CHALLENGER, versions), rule.metric),
        "baseline": _described(baseline(versions, own.dataset), rule.metric),
        "against_baseline": against,
        "rule": rule.model_dump(mode="json"),
    }


def _against(champion: Version | None, versions: Sequence[Version], metric: str) -> dict[str, Any] | None:
    """How the champion stands against BLIP on its own data; None where one of them is missing."""
    blip = baseline(versions, champion.dataset) if champion else None
    if champion is None or blip is None:
        return None
    ours, theirs = champion.figure(metric), blip.figure(metric)
    if ours is None or theirs is None:
        return None
    return {"metric": metric, "champion": ours, "baseline": theirs, "better": ours > theirs + SLACK}


def _newest(versions: Sequence[Version]) -> Version | None:
    return max((one for one in versions if one.recurrent), key=lambda one: one.number, default=None)


def _described(version: Version | None, metric: str) -> dict[str, Any] | None:
    if version is None:
        return None
    return {
        "version": version.number,
        "model": version.name,
        metric: version.figure(metric),
        "digest": version.digest,
        "run_id": version.run_id,
        "dataset": version.tags.get("dataset"),
        "dataset_digest": version.dataset,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
