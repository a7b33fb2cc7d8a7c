"""How far a figure from a sample may be from that of all text: intervals of 95 %."""

import math
from collections.abc import Sequence
from typing import NamedTuple

_Z = 1.959964  # standard deviations on either side that hold 95 % of a normal distribution


class Interval(NamedTuple):
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        """All three by name; an end that is not known is None, since JSON has no infinity."""
        return {name: figure if math.isfinite(figure) else None for name, figure in self._asdict().items()}


def share_interval(hits: float, trials: int) -> Interval:
    """The share of hits, with Wilson's interval (1927): it holds for few trials too, and for shares near 0 and 1.

    Of no trials nothing is known: the share is 0, the interval from 0 to 1. A trial may be a hit in part; then the
    interval is wider than it need be.
    """
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    share, spread = hits / trials, _Z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of independent values, as normal distributions have it; at least one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = _Z * math.sqrt(variance / len(values))
    return Interval(mean, mean - half, mean + half)


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    """The sum of some figures over the sum of others that belong to them; at least one pair, no sum of 0.

    The pairs are independent of each other; the spread is that of ``numerator - ratio * denominator`` (Cochran 1977,
    "Sampling techniques", section 6.4).
    """
    whole = math.fsum(denominators)
    ratio = math.fsum(numerators) / whole
    number = len(numerators)
    if number < 2:
        return Interval(ratio, -math.inf, math.inf)
    rests = [above - ratio * below for above, below in zip(numerators, denominators, strict=True)]
    variance = math.fsum(rest**2 for rest in rests) / (number - 1)
    half = _Z * math.sqrt(variance * number) / whole
    return Interval(ratio, ratio - half, ratio + half)
