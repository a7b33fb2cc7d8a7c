"""Is the model right as often as it is confident? Calibration of its next-token probabilities.

At each token of a text the model's confidence is the probability p of the token that it finds most likely, and the
model is right if that token comes next. The expected calibration error (Guo et al. 2017, "On calibration of modern
neural networks", arXiv:1706.04599, equations 3 and 5) sorts the N tokens by confidence into M = 15 bins of equal width,
B_m = ((m - 1) / M, m / M], and compares in each bin how often the model is right with how confident it is::

    ECE = sum over m of |B_m| / N * |accuracy(B_m) - confidence(B_m)|

where accuracy is the share of the bin's tokens on which the model is right, and confidence the mean of p. The error is
0 if, for every p, the model is right on the share p of the tokens that it predicts with confidence p. It says nothing
about how good the predictions are.

Shapes: N tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gru_complete.training.scoring import TokenPredictions

NUM_BINS = 15


@dataclass(frozen=True)
class CalibrationBin:
    """The tokens predicted with about the same confidence.

    Args:
        num_tokens: at least one.
        confidence: the mean probability of the most likely token.
        accuracy: the share of tokens for which that token came next.
    """

    num_tokens: int
    confidence: float
    accuracy: float


class Calibration:
    """Collects predictions as they are made.

    Args:
        num_bins: M.
    """

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self.num_bins = num_bins
        self._tokens = np.zeros(num_bins, np.int64)
        self._hits = np.zeros(num_bins, np.int64)
        self._sums = np.zeros(num_bins)

    def add(self, predictions: TokenPredictions) -> None:
        """Count the predictions of some tokens."""
        number, confidences = self.num_bins, predictions.confidences
        bins = np.clip(np.ceil(confidences * number).astype(np.int64) - 1, 0, number - 1)
        self._tokens += np.bincount(bins, minlength=number)
        self._hits += np.bincount(bins[predictions.ranks == 0], minlength=number)
        self._sums += np.bincount(bins, confidences, number)

    @property
    def bins(self) -> list[CalibrationBin]:
        """The bins that hold tokens, by ascending confidence."""
        filled = np.flatnonzero(self._tokens)
        return [
            CalibrationBin(
                int(self._tokens[index]),
                float(self._sums[index] / self._tokens[index]),
                float(self._hits[index] / self._tokens[index]),
            )
            for index in filled
        ]

    @property
    def expected_error(self) -> float:
        """The expected calibration error, between 0 and 1; 0 without tokens."""
        bins = self.bins
        total = sum(each.num_tokens for each in bins)
        return sum(each.num_tokens * abs(each.accuracy - each.confidence) for each in bins) / max(1, total)

    def to_json(self) -> dict[str, Any]:
        """The value of ``calibration`` in ``eval --json``."""
        bins = self.bins
        total = sum(each.num_tokens for each in bins)
        return {
            "expected_error": self.expected_error,
            "confidence": sum(each.num_tokens * each.confidence for each in bins) / max(1, total),
            "accuracy": sum(each.num_tokens * each.accuracy for each in bins) / max(1, total),
            "num_bins": self.num_bins,
            "bins": [vars(each) for each in bins],
        }
