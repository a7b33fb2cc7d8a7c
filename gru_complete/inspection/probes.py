"""Which unit of a network follows a feature: a threshold on its value, fitted on one half, tested on the other.

A unit that separates two cases by itself can be shown. Its accuracy lies between two bounds, which are reported with
it: that of always giving the more common answer, and that of a linear combination of all units.

Shapes: N positions of a text, or pairs; F features, here the values of one state: layers x state rows x units.
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
    """One value of a state: its layer, whether it is the memory of an ``lstm`` or h, and its unit; from 0."""

    layer: int
    is_cell: bool
    unit: int

    def to_json(self) -> dict[str, Any]:
        """As in ``inspect --json``, with layers from 1 and units from 0."""
        return {"layer": self.layer + 1, "unit": self.unit, "is_cell": self.is_cell}


class Thresholds(NamedTuple):
    """For each value of a state, the threshold that predicts the feature best.

    Attributes:
        cuts: the thresholds, ``(F,)``.
        signs: 1 if values above the cut predict the feature, -1 if values below do, ``(F,)``.
        accuracies: on the positions fitted on, ``(F,)``; no other cut has a higher one.
        balanced: the mean of the accuracies with and without the feature, on the same positions, ``(F,)``.
    """

    cuts: FloatArray
    signs: FloatArray
    accuracies: FloatArray
    balanced: FloatArray

    def predict(self, values: FloatArray, index: int) -> BoolArray:
        """Whether one of the values predicts the feature, ``(N,)``."""
        predictions: BoolArray = (values[:, index] > self.cuts[index]) == (self.signs[index] > 0)
        return predictions


class Follower(NamedTuple):
    """A unit, and how well it predicts the feature on text that it was not chosen on.

    Attributes:
        unit: the unit.
        threshold: of its value.
        sign: 1 if values above the threshold predict the feature, -1 if values below do.
        accuracy: over all positions, with its interval.
        balanced: the mean of the accuracies with and without the feature.
        right: whether the prediction is right, ``(N,)``.
    """

    unit: Unit
    threshold: float
    sign: int
    accuracy: Interval
    balanced: float
    right: BoolArray

    def to_json(self) -> dict[str, Any]:
        """As in ``inspect --json``: everything but ``right``."""
        return {
            **self.unit.to_json(),
            "threshold": _finite(self.threshold),
            "sign": self.sign,
            "accuracy": self.accuracy._asdict(),
            "balanced_accuracy": self.balanced,
        }


class Probe(NamedTuple):
    """The units that follow a feature, and two bounds to compare them with.

    Attributes:
        followers: the best units, in the order of their accuracy on the half they were chosen on.
        majority: the accuracy of always giving the answer that is more common on that half.
        linear: the accuracy of a linear combination of all units, by ridge regression.
        num_fit: number of positions fitted on.
        num_tried: number of positions that the accuracies are of.
    """

    followers: tuple[Follower, ...]
    majority: float
    linear: Interval
    num_fit: int
    num_tried: int

    def to_json(self) -> dict[str, Any]:
        """As in ``inspect --json``."""
        return {
            "num_fit": self.num_fit,
            "num_tried": self.num_tried,
            "majority": self.majority,
            "linear": self.linear._asdict(),
            "units": [follower.to_json() for follower in self.followers],
        }


def fit_thresholds(values: FloatArray, labels: BoolArray) -> Thresholds:
    """Find the best cut and sign for each column by itself; of equally good cuts the lowest.

    Args:
        values: states, ``(N, F)``.
        labels: whether the feature holds, ``(N,)``; both cases occur.
    """
    number, width = values.shape
    cuts, signs, accuracies, balanced = (np.empty(width) for _ in range(4))
    total = int(labels.sum())
    for index in range(width):
        order = np.argsort(values[:, index], kind="stable")
        column = values[order, index].astype(np.float64)
        below = np.concatenate([[0], np.cumsum(labels[order])])  # k: how many of the lowest k have the feature
        lowest = np.arange(number + 1)
        hits = total - below + (lowest - below)  # right if values above the cut k predict the feature
        splits = np.ones(number + 1, bool)
        splits[1:-1] = column[1:] > column[:-1]  # equal values cannot be separated
        above, under = np.where(splits, hits, -1), np.where(splits, number - hits, -1)
        sign = 1.0 if above.max() >= under.max() else -1.0
        place = int((above if sign > 0 else under).argmax())
        accuracies[index] = (above if sign > 0 else under)[place] / number
        signs[index] = sign
        recall = (total - below[place]) / total  # the share of those with the feature that is above the cut
        rejection = (place - below[place]) / (number - total)  # the share of those without it that is below
        balanced[index] = (recall + rejection) / 2 if sign > 0 else 1 - (recall + rejection) / 2
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
    """Choose the units that predict a feature best on some positions, and test them on the others.

    The cut of each unit maximises its accuracy. The units are then chosen by balanced accuracy: with a rare feature, a
    unit that nearly always says no would have a high accuracy otherwise.

    Args:
        values: states, ``(N, F)``.
        labels: whether the feature holds, ``(N,)``; both cases occur among the positions to fit on.
        fitted: which positions to fit on, ``(N,)``; at least one is left to test on.
        units: what the columns are, F of them.
        are_independent: whether the positions are independent; if not, like the tokens of a running text, intervals
            are those of the mean over consecutive blocks.
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
    """The predictions of ridge regression on standardised values, ``(N,)``."""
    mean, deviation = fit_values.mean(axis=0), fit_values.std(axis=0) + 1e-6
    inputs = ((fit_values - mean) / deviation).astype(np.float64)
    targets = np.where(fit_labels, 1.0, -1.0)
    offset = targets.mean()
    gram = inputs.T @ inputs + _RIDGE * len(inputs) * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ (targets - offset))
    predictions: BoolArray = (values - mean) / deviation @ weights + offset > 0
    return predictions


def state_units(shape: Sequence[int]) -> list[Unit]:
    """What the values of a state ``(L, S, H)`` are, in the order of the flattened array."""
    num_layers, rows, size = shape
    return [Unit(layer, row > 0, unit) for layer in range(num_layers) for row in range(rows) for unit in range(size)]


def _finite(value: float) -> float | None:
    """A threshold for JSON, which has no infinity: None if the unit predicts the same everywhere."""
    return value if math.isfinite(value) else None
