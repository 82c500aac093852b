"""Which trials are worth their remaining epochs.

Hyperband (Li et al. 2018) in Optuna's asynchronous form: one in `reduction_factor` goes on from each rung of epochs.
Of its brackets, which begin to prune the later the less they trust early epochs, the first alone makes better use of a
small budget (ASHA, Li et al. 2020); that is successive halving.
The median rule ends what is worse than half of the trials were at the same epoch.
"""

from __future__ import annotations

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from src.config import Tune


def pruner(tune: Tune) -> BasePruner:
    """The rule that `tune.pruner` names, over the epochs of a trial."""
    if tune.pruner == "hyperband":
        first = min(tune.min_epochs, tune.epochs)
        if tune.brackets == "first":
            return SuccessiveHalvingPruner(min_resource=first, reduction_factor=tune.reduction_factor)
        return HyperbandPruner(first, tune.epochs, tune.reduction_factor)
    if tune.pruner == "median":  # asked at step `n_warmup_steps` for the first time; steps are epochs, from 1
        return MedianPruner(n_startup_trials=tune.startup_trials, n_warmup_steps=tune.min_epochs)
    return NopPruner()
