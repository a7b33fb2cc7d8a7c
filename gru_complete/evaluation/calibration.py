"""Whether the model is right as often as it is sure: calibration of its next-token probabilities.

At each token of a text the model's confidence is the probability p of the token that it finds likeliest, and it is
right if that token comes next. The expected calibration error (Guo et al. 2017, "On calibration of modern neural
networks", arXiv:1706.04599, eq. 3 and 5) sorts the N tokens by their confidence into M = 15 bins of the same width,
((m - 1) / M, m / M], and compares in each bin B_m how often it is right with how sure it is::

    ECE = sum over m of |B_m| / N * |accuracy(B_m) - confidence(B_m)|

where accuracy is the share of tokens on which it is right, and confidence the mean of p. It is 0 if of the tokens
predicted with any confidence p the share p is right, and it says nothing about how good the predictions are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gru_complete.training.scoring import TokenPredictions

NUM_BINS = 15


@dataclass(frozen=True)
class Bin:
    """The tokens predicted with about the same confidence.

    Args:
        num_tokens: how many there are; at least one.
        confidence: the mean probability of the likeliest token.
        accuracy: how often it came next.
    """

    num_tokens: int
    confidence: float
    accuracy: float


class Calibration:
    """Collects predictions, as they are made.

    Args:
        num_bins: M.
    """

    def __init__(self, num_bins: int = NUM_BINS) -> None:
        self.num_bins = num_bins
        self._tokens = np.zeros(num_bins, np.int64)
        self._hits = np.zeros(num_bins, np.int64)
        self._sums = np.zeros(num_bins)

    def add(self, outcome: TokenPredictions) -> None:
        """Take in the predictions of some tokens."""
        number = self.num_bins
        bins = np.clip(np.ceil(outcome.confidences * number).astype(np.int64) - 1, 0, number - 1)
        self._tokens += np.bincount(bins, minlength=number)
        self._hits += np.bincount(bins[outcome.ranks == 0], minlength=number)
        self._sums += np.bincount(bins, outcome.confidences, number)

    @property
    def bins(self) -> list[Bin]:
        """Those that hold tokens, the least confidence first."""
        filled = np.flatnonzero(self._tokens)
        return [
            Bin(
                int(self._tokens[index]),
                float(self._sums[index] / self._tokens[index]),
                float(self._hits[index] / self._tokens[index]),
            )
            for index in filled
        ]

    @property
    def expected_error(self) -> float:
        """ECE, between 0 and 1; 0 without tokens."""
        bins = self.bins
        total = sum(one.num_tokens for one in bins)
        return sum(one.num_tokens * abs(one.accuracy - one.confidence) for one in bins) / max(1, total)

    def to_json(self) -> dict[str, Any]:
        """What stands under ``calibration`` in ``eval --json``."""
        bins = self.bins
        total = sum(one.num_tokens for one in bins)
        return {
            "expected_error": self.expected_error,
            "confidence": sum(one.num_tokens * one.confidence for one in bins) / max(1, total),
            "accuracy": sum(one.num_tokens * one.accuracy for one in bins) / max(1, total),
            "num_bins": self.num_bins,
            "bins": [vars(one) for one in bins],
        }
