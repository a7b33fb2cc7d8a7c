"""The learning rate of each step: one cycle, up a line and down a cosine to zero (Smith 2018, arXiv:1803.09820)."""

import math

START_DIVISOR = 25.0


def one_cycle(step: float, *, max_steps: int, peak: float, warmup: float) -> float:
    """Learning rate of the update that makes step ``step``.

    Args:
        step: the update, 1 to ``max_steps``; between two of them where steps are not alike.
        max_steps: the last update; the rate would be zero one step after it.
        peak: the highest rate.
        warmup: share of the steps, 0 to 1, in which the rate rises from ``peak / START_DIVISOR``.
    """
    warmup_steps = warmup * max_steps
    if step <= warmup_steps:
        start = peak / START_DIVISOR
        return start + (peak - start) * step / warmup_steps
    progress = (step - warmup_steps) / (max_steps + 1 - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
