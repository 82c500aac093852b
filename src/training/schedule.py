"""How the learning rate moves: linear warm-up, then half a cosine (Loshchilov and Hutter 2017, eq. 5)."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, steps: int, warmup: int, final: float) -> float:
    """The share of the learning rate at an optimiser step (0 is the first of `steps`); ends at `final`.

    Args:
        warmup: steps of the rise, half of all at most.
    """
    warmup = min(warmup, steps // 2)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
