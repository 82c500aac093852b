"""Which trials are worth their remaining epochs.

Hyperband (Li et al. 2018) in Optuna's asynchronous form: one in `reduction_factor` goes on from each rung of epochs.
The median rule ends what is worse than half of the trials were at the same epoch.
"""

from __future__ import annotations

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner

from src.config import Tune


def pruner(tune: Tune) -> BasePruner:
    """The rule that `tune.pruner` names, over the epochs of a trial."""
    if tune.pruner == "hyperband":
        return HyperbandPruner(
            min_resource=min(tune.min_epochs, tune.epochs),
            max_resource=tune.epochs,
            reduction_factor=tune.reduction_factor,
        )
    if tune.pruner == "median":
        return MedianPruner(n_startup_trials=tune.startup_trials, n_warmup_steps=tune.min_epochs - 1)
    return NopPruner()
