"""What trials try: params.yaml first, then the same for the same seed, whatever was interrupted."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from src.config import ConfigError, Settings
from src.tune.pruning import pruner
from src.tune.suggestions import SeededByTrial, own, settings_of, suggest

SPACE = {
    "model": {"rnn": ["lstm", "gru"], "hidden_size": {"low": 16, "high": 512, "log": True}},
    "train": {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "clip_norm": {"low": 1, "high": 10, "when": {"model.rnn": "gru"}},
    },
}


def settings(seed: int = 0, **tune: Any) -> Settings:
    return Settings.model_validate({"seed": seed, "tune": {"space": SPACE, "startup_trials": 3, **tune}})


def suggested(settings: Settings, trials: int, interrupted: bool = False) -> list[dict[str, Any]]:
    storage = optuna.storages.InMemoryStorage()
    found: list[dict[str, Any]] = []
    for _ in range(trials):
        if not found or interrupted:  # a process that begins anew makes its sampler anew
            study = optuna.create_study(
                storage=storage,
                study_name="s",
                load_if_exists=True,
                direction="maximize",
                sampler=SeededByTrial(settings),
                pruner=pruner(settings.tune),
            )
        trial = study.ask()
        found.append(suggest(trial, settings))
        study.tell(trial, -abs(float(found[-1]["train.learning_rate"]) - 0.003))
    return found


def test_the_same_seed_suggests_the_same_also_after_interruptions():
    assert suggested(settings(), 9) == suggested(settings(), 9, interrupted=True)
    assert suggested(settings(), 3) != suggested(settings(seed=1), 3)


def test_no_trial_repeats_another():
    found = [tuple(values.items()) for values in suggested(settings(sampler="random"), 12, interrupted=True)]
    assert len(set(found)) == len(found)


def test_a_conditional_parameter_is_searched_only_where_its_condition_holds():
    found = suggested(settings(), 12)
    assert {values["model.rnn"] for values in found} == {"lstm", "gru"}
    assert all(("train.clip_norm" in values) == (values["model.rnn"] == "gru") for values in found)


def test_a_range_of_a_count_gives_integers_and_one_of_a_number_numbers():
    values = next(values for values in suggested(settings(), 12) if values["model.rnn"] == "gru")
    assert isinstance(values["model.hidden_size"], int)
    assert isinstance(values["train.clip_norm"], float)  # though 1 and 10 are written without a point


def test_steps_are_kept_to():
    space = {
        "model": {"hidden_size": {"low": 128, "high": 384, "step": 128}},
        "train": SPACE["train"] | {"clip_norm": {"low": 1, "high": 10, "step": 3}},
    }
    found = suggested(settings(space=space), 20)
    assert {values["model.hidden_size"] for values in found} == {128, 256, 384}
    assert {values["train.clip_norm"] for values in found} == {1.0, 4.0, 7.0, 10.0}


def test_hyperbands_brackets_learn_from_each_other():
    """Each by itself they would go on at random until they had a startup of their own."""
    assert suggested(settings(pruner="hyperband", brackets="all"), 12) == suggested(settings(pruner="none"), 12)


def test_asked_again_a_trial_gives_the_same_values():
    study = optuna.create_study(sampler=SeededByTrial(settings()))
    trial = study.ask()
    first = suggest(trial, settings())
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    again = study.ask()
    assert again.number == trial.number
    assert suggest(again, settings()) == first


def test_params_yaml_as_it_is_lies_in_the_space():
    assert own(settings()) == {"model.rnn": "lstm", "model.hidden_size": 256, "train.learning_rate": 0.003}
    with pytest.raises(ConfigError, match=r"model\.hidden_size is 256 in params\.yaml"):
        own(Settings.model_validate({"tune": {"space": {"model": {"hidden_size": [128, 512]}}}}))


def test_a_trials_parameters_are_those_of_params_yaml_but_for_what_it_tries():
    base = settings(epochs=4)
    tried = settings_of(base, {"model.rnn": "gru", "train.adapt.ema_decay": 0.9})
    assert (tried.model.rnn, tried.train.adapt.ema_decay, tried.train.epochs) == ("gru", 0.9, 4)
    assert tried.train.batch_images == base.train.batch_images
    with pytest.raises(ConfigError, match="dropout"):
        settings_of(base, {"model.dropout": 2.0})


def test_a_trial_is_one_decoder_taught_over_its_own_epochs_whatever_params_yaml_does_with_it_later():
    long = settings().model_dump()
    long["train"] |= {"epochs": 40, "self_critical_epochs": 5, "members": 3}
    trial = settings_of(Settings.model_validate(long), {"model.rnn": "gru"})
    assert (trial.train.epochs, trial.train.self_critical_epochs, trial.train.members) == (trial.tune.epochs, 0, 1)
