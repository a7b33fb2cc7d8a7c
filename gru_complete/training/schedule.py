"""The learning rate of each step: up a line, then constant, then down a cosine to zero.

A constant rate with a short fall at the end (Hu et al. 2024, arXiv:2404.06395; Haegele et al. 2024, arXiv:2405.18392)
learns more in as many steps than one that falls all the way (``benchmarks/recipes.md``).
"""

import math

START_DIVISOR = 25.0


def learning_rate(step: float, *, max_steps: int, peak: float, warmup: float, decay: float) -> float:
    """Learning rate of the update that makes step ``step``.

    Args:
        step: the update, 1 to ``max_steps``; between two of them where steps are not alike.
        max_steps: the last update; the rate would be zero one step after it.
        peak: the highest rate.
        warmup: share of the steps, 0 to 1, in which the rate rises from ``peak / START_DIVISOR``.
        decay: share of the steps, 0 to 1, in which it falls to zero; at most those after the rise.
    """
    warmup_steps = warmup * max_steps
    if step <= warmup_steps:
        start = peak / START_DIVISOR
        return start + (peak - start) * step / warmup_steps
    decay_start = max(warmup_steps, (1 - decay) * max_steps)
    progress = max(0.0, (step - decay_start) / (max_steps + 1 - decay_start))
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
