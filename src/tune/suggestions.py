"""What a trial tries: Optuna's suggestions from the space of params.yaml, and the parameters they make.

Suggestions come from TPE (Bergstra et al. 2011), the multivariate kind (Falkner et al. 2018), or at random.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from src.config import ConfigError, Settings, Tune, validated
from src.errors import UserError
from src.search_space import Choice, Range, Value, value_of, with_value

Overrides = dict[str, Value]
"""Parameters by full name that differ from those of params.yaml, as `dvc exp run -S` takes them."""


def own(settings: Settings) -> Overrides:
    """What params.yaml itself has for what is searched: the first trial.

    Raises:
        ConfigError: its own value is none that the space has.
    """
    found: Overrides = {}
    for key, entry in _conditions_last(settings.tune):
        value = _value(settings, key)
        if not _applies(entry, settings, found):
            continue
        if value not in entry:
            raise ConfigError(
                f"{key} is {value!r} in params.yaml, which tune.space.{key} does not have: the first trial is "
                "params.yaml as it is, so widen the space or change the parameter"
            )
        found[key] = value
    return found


def suggest(trial: Trial, settings: Settings) -> Overrides:
    """The values of this trial; the same when it is asked for them again."""
    found: Overrides = {}
    for key, entry in _conditions_last(settings.tune):
        if not _applies(entry, settings, found):
            continue
        if isinstance(entry, Choice):
            chosen = trial.suggest_categorical(key, entry.choices)
            assert chosen is not None
            found[key] = chosen
        elif isinstance(_value(settings, key), float) or isinstance(entry.low, float) or isinstance(entry.high, float):
            step = None if entry.step == 1 else entry.step
            found[key] = trial.suggest_float(key, entry.low, entry.high, log=entry.log, step=step)
        else:
            found[key] = trial.suggest_int(key, entry.low, entry.high, log=entry.log, step=entry.step)
    return found


def settings_of(settings: Settings, overrides: Mapping[str, Value]) -> Settings:
    """The parameters of a trial: those of `settings` but for `overrides`, over the epochs of a trial, without what may
    follow them (a CNN that learns, rewards, more decoders)."""
    budget = {
        "train.epochs": settings.tune.epochs,
        "train.finetune_encoder": 0,
        "train.self_critical_epochs": 0,
        "train.members": 1,
    }
    return changed(settings, {**overrides, **budget}, "trial")


def changed(settings: Settings, overrides: Mapping[str, Any], origin: str) -> Settings:
    """`settings` with other values of some parameters; `origin` says in errors where they come from.

    Raises:
        UserError: a parameter does not exist, or does not take the value.
    """
    raw: dict[str, Any] = settings.model_dump()
    for key, value in overrides.items():
        try:
            raw = with_value(raw, key.split("."), value)
        except (KeyError, TypeError):
            raise UserError(f"{key} is no parameter: params.yaml has them all") from None
    return validated(raw, origin)


class SeededByTrial(BaseSampler):
    """A sampler that begins anew with each trial, seeded by the search's seed and the trial's number.

    One generator over all trials would suggest the same again after every restart, and in every worker.
    """

    def __init__(self, settings: Settings) -> None:
        self._seed, self._tune = settings.seed, settings.tune
        self._sampler = self._fresh(0)

    def _fresh(self, number: int) -> BaseSampler:
        seed = int(np.random.SeedSequence((self._seed, number)).generate_state(1)[0])
        if self._tune.sampler == "random":
            return RandomSampler(seed=seed)
        conditional = any(entry.when for entry in self._tune.space.values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(
                seed=seed,
                n_startup_trials=self._tune.startup_trials,
                multivariate=True,
                group=conditional,
                constant_liar=True,  # keep away from what another worker is trying
            )

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler = self._fresh(trial.number)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler.after_trial(study, trial, state, values)


def _conditions_last(tune: Tune) -> list[tuple[str, Range | Choice]]:
    return sorted(tune.space.items(), key=lambda item: bool(item[1].when))


def _applies(entry: Range | Choice, settings: Settings, found: Overrides) -> bool:
    return all(found.get(key, _value(settings, key)) == value for key, value in entry.when.items())


def _value(settings: Settings, key: str) -> Any:
    return value_of(settings, key.split("."))
