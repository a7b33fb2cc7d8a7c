"""The neural cache: the tokens that followed in this text when the network was in a similar state (Grave et al. 2017).

The network's features h, which score the next token, are kept for the last N tokens of a text, each with the token that
followed. Kept features that resemble the current features h say what may follow now (arXiv:1612.04426, equations 2 to
4)::

    c(w) = sum of exp(theta cos(h, h_i)) over all kept i that w followed, divided by the same sum over all kept i
    p(w) = (1 - s) p_model(w) + s c(w)

Two things differ from Grave et al. They take the inner product of h and h_i; the cosine gains more, and one theta works
for every model. They take a constant share s; here s grows with the largest cosine. How many kept features are similar,
how many there are, and what the n-gram model knows did not improve s.

The constants are the same for every model. They were chosen on a drama and on prose together, and the constants chosen
on either text alone improve the other text too (``benchmarks/recipes.md``).

Shapes: E embedding_size, N kept tokens, V vocab_size.
"""

from __future__ import annotations

import math

import numpy as np

from gru_complete.arrays import Float32Array

WINDOW = 2000
"""The maximum of N; older features are forgotten. 5000 gain little more and take five times as long."""

_THETA = 16.0
_CONSTANT, _BY_LARGEST_COSINE = -11.0, 10.7  # s is a logistic function of the largest cosine


class NeuralCache:
    """The features of one text so far, and the tokens that followed them.

    Args:
        num_features: E.
    """

    def __init__(self, num_features: int) -> None:
        # Twice the window: the features of a window are always contiguous and rarely have to be moved.
        self._features = np.empty((2 * WINDOW, num_features), np.float32)
        self._tokens = np.empty(2 * WINDOW, np.intp)
        self._end = 0

    def learn(self, features: Float32Array, token: int) -> None:
        """Keep features ``(E,)`` and the token that followed them."""
        if self._end == len(self._tokens):
            self._features[:WINDOW] = self._features[WINDOW:]
            self._tokens[:WINDOW] = self._tokens[WINDOW:]
            self._end = WINDOW
        self._features[self._end] = _normalise(features)
        self._tokens[self._end] = token
        self._end += 1

    def predict(self, features: Float32Array, vocab_size: int) -> tuple[Float32Array, float]:
        """Predict the token that follows the network's current features.

        Args:
            features: the network's features, ``(E,)``.
            vocab_size: V.

        Returns:
            The cache's probabilities c, ``(V,)``, and their share s in the mixture, between 0 and 1. An empty cache
            returns zeros for both.
        """
        kept = slice(max(0, self._end - WINDOW), self._end)
        if self._end == 0:
            return np.zeros(vocab_size, np.float32), 0.0
        cosines = self._features[kept] @ _normalise(features)
        largest = float(cosines.max())
        weights = np.exp(np.float32(_THETA) * (cosines - np.float32(largest)))
        probabilities = np.bincount(self._tokens[kept], weights / weights.sum(), vocab_size)
        return probabilities.astype(np.float32), 1 / (1 + math.exp(-_CONSTANT - _BY_LARGEST_COSINE * largest))


def _normalise(features: Float32Array) -> Float32Array:
    """Scale features to length 1."""
    unit: Float32Array = features / np.float32(max(float(np.linalg.norm(features)), 1e-12))
    return unit
