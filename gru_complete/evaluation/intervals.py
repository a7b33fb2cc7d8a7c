"""How far a figure from a sample may be from the true figure: 95 % confidence intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

_Z = 1.959964  # standard deviations on either side of the mean that hold 95 % of a normal distribution


class Interval(NamedTuple):
    """A figure and the ends of its 95 % interval; an end is infinite where the sample is too small to tell."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """All three by name; an infinite end is None, since JSON has no infinity."""
        return {name: figure if math.isfinite(figure) else None for name, figure in self._asdict().items()}


def share_interval(hits: float, trials: int) -> Interval:
    """Estimate a share by Wilson's score interval (1927, "Probable inference, the law of succession").

    With p = hits / n for n trials and z = 1.96::

        (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Unlike the normal approximation it also holds for few trials and for shares near 0 and 1.

    Args:
        hits: successful trials; a trial may be a hit in part, which makes the interval wider than it need be.
        trials: n; without trials the share is 0 and the interval goes from 0 to 1.
    """
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    share, spread = hits / trials, _Z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # The interval holds the share, also where rounding has the last word: after 5 hits of 5 it ends at 1.
    return Interval(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def mean_interval(values: Sequence[float]) -> Interval:
    """Estimate the mean of independent values, at least one, by the normal approximation; of one value, no ends."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = _Z * math.sqrt(variance / len(values))
    return Interval(mean, mean - half, mean + half)


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    """Estimate the ratio of two sums over independent pairs (Cochran 1977, "Sampling techniques", section 6.4).

    The variance is that of the residuals, ``numerator - ratio * denominator``.

    Args:
        numerators: one for each pair, at least one.
        denominators: likewise; their sum is not 0.
    """
    whole = math.fsum(denominators)
    ratio = math.fsum(numerators) / whole
    num_pairs = len(numerators)
    if num_pairs < 2:
        return Interval(ratio, -math.inf, math.inf)
    residuals = [above - ratio * below for above, below in zip(numerators, denominators, strict=True)]
    variance = math.fsum(residual**2 for residual in residuals) / (num_pairs - 1)
    half = _Z * math.sqrt(variance * num_pairs) / whole
    return Interval(ratio, ratio - half, ratio + half)
