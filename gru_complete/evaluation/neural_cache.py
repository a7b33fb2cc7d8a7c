"""The neural cache: what followed in this text when the network was in a similar state (Grave et al. 2017).

The network's features h, those that score the next token, are kept for the last tokens of a text, each with the token
that came. Those that resemble the features at hand say what may come now (arXiv:1612.04426, equations 2 to 4)::

    c(w) = sum of exp(theta cos(h, h_i)) over all kept i that w followed, divided by the same sum over all kept i
    p(w) = (1 - s) p_model(w) + s c(w)

Grave et al. take the bare product of h and h_i and a constant share s. The cosine gains more, and one theta does for
every model; and s is larger the nearer the nearest features are. How many are near, how many there are and what the
counts know add nothing to that.

The constants belong to no model: chosen on a drama and on prose together, and those of either gain on the other too
(``benchmarks/recipes.md``).

Shapes: E embedding_size, V vocab_size, W kept tokens.
"""

from __future__ import annotations

import math

import numpy as np

from gru_complete.arrays import Float32Array

WINDOW = 2000
"""W at most; older features are forgotten. 5000 gain little more and take five times as long."""

_THETA = 16.0
_CONSTANT, _BY_NEAREST = -11.0, 10.7  # the share s is a logistic function of the largest cosine


class NeuralCache:
    """The features of one text so far, and the tokens that followed them.

    Args:
        num_features: E.
    """

    def __init__(self, num_features: int) -> None:
        # Twice the window, so that the features of a window always stand side by side and are seldom moved.
        self._features = np.empty((2 * WINDOW, num_features), np.float32)
        self._tokens = np.empty(2 * WINDOW, np.intp)
        self._end = 0

    def learn(self, features: Float32Array, token: int) -> None:
        """Keep features ``(E,)`` and the token that followed them."""
        if self._end == len(self._tokens):
            self._features[:WINDOW] = self._features[WINDOW:]
            self._tokens[:WINDOW] = self._tokens[WINDOW:]
            self._end = WINDOW
        self._features[self._end] = _unit(features)
        self._tokens[self._end] = token
        self._end += 1

    def predict(self, features: Float32Array, vocab_size: int) -> tuple[Float32Array, float]:
        """What the cache says where the network has these features.

        Args:
            features: the network's, ``(E,)``.
            vocab_size: V.

        Returns:
            Probabilities ``(V,)`` and the share s of them in the mixture, between 0 and 1. While nothing is kept, s is
            0, and so are they.
        """
        kept = slice(max(0, self._end - WINDOW), self._end)
        if self._end == 0:
            return np.zeros(vocab_size, np.float32), 0.0
        cosines = self._features[kept] @ _unit(features)
        nearest = float(cosines.max())
        weights = np.exp(np.float32(_THETA) * (cosines - np.float32(nearest)))
        probabilities = np.bincount(self._tokens[kept], weights / weights.sum(), vocab_size)
        return probabilities.astype(np.float32), 1 / (1 + math.exp(-_CONSTANT - _BY_NEAREST * nearest))


def _unit(features: Float32Array) -> Float32Array:
    """The features at length 1."""
    unit: Float32Array = features / np.float32(max(float(np.linalg.norm(features)), 1e-12))
    return unit
