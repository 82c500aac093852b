"""How early each pruner ends a trial that promises nothing."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from src.config import Tune
from src.tune.pruning import pruner


def earliest_end(tune: Tune) -> int:
    """The epoch after which the first of trials ends, each of which is worse from beginning to end than the former."""
    study = optuna.create_study(direction="maximize", pruner=pruner(tune))
    ended = []
    for number in range(40):
        trial = study.ask()
        for epoch in range(1, tune.epochs + 1):
            trial.report(1.0 / (1 + number), epoch)
            if trial.should_prune():
                ended.append(epoch)
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, 1.0 / (1 + number))
    return min(ended)


@pytest.mark.parametrize(("name", "brackets"), [("median", "first"), ("hyperband", "first"), ("hyperband", "all")])
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_trial_ends_after_min_epochs_at_the_earliest_whatever_the_pruner(name, brackets, epochs):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tune = Tune(pruner=name, brackets=brackets, min_epochs=epochs, epochs=9, startup_trials=1, reduction_factor=2)
    assert earliest_end(tune) == epochs
