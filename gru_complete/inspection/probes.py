"""Which unit of a network follows something: a threshold on its value, fitted on one half, tried on the other.

A unit that tells two cases apart by itself is one that can be shown; beside it stand what the commoner case alone would
get and what a linear combination of all units gets, the bounds between which a single unit can be of interest.
Shapes: D values of a state (layers x state rows x units), N places.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gru_complete.arrays import BoolArray, FloatArray
from gru_complete.evaluation.intervals import Interval, mean_interval, share_interval

NUM_BEST = 3
_NUM_BLOCKS = 20
_RIDGE = 0.01


class Unit(NamedTuple):
    """A number of the state: which layer, of an ``lstm`` whether h or its cell, and which unit; all from 0."""

    layer: int
    is_cell: bool
    unit: int

    def to_json(self) -> dict[str, Any]:
        """Where it is, with layers counted from 1 and units from 0."""
        return {"layer": self.layer + 1, "unit": self.unit, "is_cell": self.is_cell}


class Thresholds(NamedTuple):
    """For each value of a state, from where on the feature is said to be there.

    Attributes:
        cuts: ``(D,)``.
        signs: 1 where it is there above the cut, -1 where below, ``(D,)``.
        accuracies: on the places it was fitted on, the most that one cut can have, ``(D,)``.
        balanced: there, the mean of the accuracies where the feature is there and where it is not, ``(D,)``.
    """

    cuts: FloatArray
    signs: FloatArray
    accuracies: FloatArray
    balanced: FloatArray

    def predict(self, values: FloatArray, index: int) -> BoolArray:
        """Whether the feature is there, by one of the values, ``(N,)``."""
        found: BoolArray = (values[:, index] > self.cuts[index]) == (self.signs[index] > 0)
        return found


class Follower(NamedTuple):
    """A unit and how well it tells on text that it was not chosen on.

    Attributes:
        unit: which.
        threshold: from where on.
        sign: 1 where a value above means that the feature is there, -1 where one below does.
        accuracy: of all places.
        balanced: the mean of the accuracies where the feature is there and where it is not.
        right: of each place, ``(N,)``.
    """

    unit: Unit
    threshold: float
    sign: int
    accuracy: Interval
    balanced: float
    right: BoolArray

    def to_json(self) -> dict[str, Any]:
        """All but what was right where."""
        return {
            **self.unit.to_json(),
            "threshold": _finite(self.threshold),
            "sign": self.sign,
            "accuracy": self.accuracy._asdict(),
            "balanced_accuracy": self.balanced,
        }


class Probe(NamedTuple):
    """What came out of looking for a feature.

    Attributes:
        followers: the best units, in the order of the half that they were chosen on.
        majority: the accuracy of always saying what is commoner on that half.
        linear: that of a linear combination of all units, by ridge regression.
        num_fit: places that were fitted on.
        num_tried: places that the accuracies are of.
    """

    followers: tuple[Follower, ...]
    majority: float
    linear: Interval
    num_fit: int
    num_tried: int

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "num_fit": self.num_fit,
            "num_tried": self.num_tried,
            "majority": self.majority,
            "linear": self.linear._asdict(),
            "units": [follower.to_json() for follower in self.followers],
        }


def fit_thresholds(values: FloatArray, labels: BoolArray) -> Thresholds:
    """The best cut and sign for each column by itself; of equally good cuts the lowest.

    Args:
        values: ``(N, D)``.
        labels: whether the feature is there, ``(N,)``; both cases occur.
    """
    number, width = values.shape
    cuts, signs, accuracies, balanced = (np.empty(width) for _ in range(4))
    total = int(labels.sum())
    for index in range(width):
        order = np.argsort(values[:, index], kind="stable")
        column = values[order, index].astype(np.float64)
        below = np.concatenate([[0], np.cumsum(labels[order])])  # with the feature, among the lowest k
        lowest = np.arange(number + 1)
        hits = total - below + (lowest - below)  # there above the cut, and not there below
        splits = np.ones(number + 1, bool)
        splits[1:-1] = column[1:] > column[:-1]  # equal values cannot be parted
        above, under = np.where(splits, hits, -1), np.where(splits, number - hits, -1)
        sign = 1.0 if above.max() >= under.max() else -1.0
        place = int((above if sign > 0 else under).argmax())
        accuracies[index] = (above if sign > 0 else under)[place] / number
        signs[index] = sign
        there = (total - below[place]) / total  # of those with the feature, how many are above the cut
        not_there = (place - below[place]) / (number - total)  # of those without, how many below
        balanced[index] = (there + not_there) / 2 if sign > 0 else 1 - (there + not_there) / 2
        if place == 0:
            cuts[index] = -np.inf
        elif place == number:
            cuts[index] = np.inf
        else:
            cuts[index] = (column[place - 1] + column[place]) / 2
    return Thresholds(cuts, signs, accuracies, balanced)


def probe(
    values: FloatArray, labels: BoolArray, fitted: BoolArray, units: Sequence[Unit], *, are_independent: bool
) -> Probe:
    """Choose the units that tell best on some places, and try them on the others.

    Each unit has the cut at which it is right most often. Among units those are chosen that are right most often with
    both cases weighed alike: else, with a rare feature, one that nearly always says no would do.

    Args:
        values: states, ``(N, D)``.
        labels: whether the feature is there, ``(N,)``; both cases occur among those to fit on.
        fitted: which places to fit on, ``(N,)``; there are others.
        units: what the columns are, ``D``.
        are_independent: whether the places are; if not, as the tokens of a running text, the interval is that of the
            mean over consecutive blocks.
    """
    fit_values, fit_labels = values[fitted], labels[fitted]
    tried_values, tried_labels = values[~fitted], labels[~fitted]
    thresholds = fit_thresholds(fit_values, fit_labels)
    order = np.argsort(-thresholds.balanced, kind="stable")[:NUM_BEST]

    def interval(right: BoolArray) -> Interval:
        if are_independent:
            return share_interval(int(right.sum()), len(right))
        blocks = np.array_split(right, min(_NUM_BLOCKS, len(right)))
        low_high = mean_interval([float(block.mean()) for block in blocks])
        return Interval(float(right.mean()), max(0.0, low_high.low), min(1.0, low_high.high))

    followers = []
    for index in order:
        right = thresholds.predict(tried_values, index) == tried_labels
        sides = [float(right[tried_labels == side].mean()) for side in (True, False) if (tried_labels == side).any()]
        followers.append(
            Follower(
                units[index],
                float(thresholds.cuts[index]),
                int(thresholds.signs[index]),
                interval(right),
                sum(sides) / len(sides),
                right,
            )
        )
    common = fit_labels.mean() >= 0.5
    linear = _linear_predictions(fit_values, fit_labels, tried_values) == tried_labels
    majority = float((tried_labels == common).mean())
    return Probe(tuple(followers), majority, interval(linear), len(fit_labels), len(tried_labels))


def _linear_predictions(fit_values: FloatArray, fit_labels: BoolArray, values: FloatArray) -> BoolArray:
    """What least squares with a small ridge on standardised values says, ``(N,)``."""
    mean, spread = fit_values.mean(axis=0), fit_values.std(axis=0) + 1e-6
    inputs = ((fit_values - mean) / spread).astype(np.float64)
    targets = np.where(fit_labels, 1.0, -1.0)
    offset = targets.mean()
    gram = inputs.T @ inputs + _RIDGE * len(inputs) * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ (targets - offset))
    found: BoolArray = (values - mean) / spread @ weights + offset > 0
    return found


def state_units(shape: Sequence[int]) -> list[Unit]:
    """What the numbers of a state ``(L, S, H)`` are, once it is flat."""
    num_layers, rows, size = shape
    return [Unit(layer, row > 0, unit) for layer in range(num_layers) for row in range(rows) for unit in range(size)]


def _finite(value: float) -> float | None:
    """A threshold for JSON, which has no infinity: None where the unit says the same everywhere."""
    return value if math.isfinite(value) else None
