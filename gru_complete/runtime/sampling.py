"""Scores in, the next token out: penalty, truncation and temperature, then one draw.

The filters run in llama.cpp's order: repetition penalty, top-k, typical, top-p, min-p, and the temperature last; each
sees what the one before it left, renormalised. So the set of tokens to draw from does not depend on the temperature: a
high temperature mixes the sensible choices, it does not admit others.

Shapes: V vocab_size, K candidates kept.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from gru_complete.arrays import FloatArray, IntArray
from gru_complete.errors import ModelError
from gru_complete.runtime.options import SamplingOptions

PENALTY_TOKENS = 64
"""How many of the latest tokens the repetition penalty sees: llama.cpp's default."""


def sample(scores: FloatArray, options: SamplingOptions, recent: Collection[int], uniform: float) -> int:
    """Draw a token.

    Args:
        scores: natural log probabilities up to a constant, ``(V,)``; -inf for tokens that may not come.
        options: the filters and the temperature.
        recent: the latest tokens of the text, which ``repetition_penalty`` makes less likely.
        uniform: a random number from [0, 1).

    Raises:
        ModelError: no token has a finite score.
    """
    tokens, weights = candidates(scores, options, recent=recent)
    return int(tokens[draw(weights, uniform)])


def candidates(
    scores: FloatArray, options: SamplingOptions, *, recent: Collection[int] = ()
) -> tuple[IntArray, FloatArray]:
    """Decide which tokens may come next and how likely each is.

    ``batch.draw_each`` does the same for many rows at once, where only temperature and min-p filter.

    Args:
        scores: as in ``sample``.
        options: as in ``sample``.
        recent: as in ``sample``.

    Returns:
        The tokens left, ascending, ``(K,)``, and their probabilities up to a common factor, ``(K,)`` float64: ``draw``
        needs no more.

    Raises:
        ModelError: no token has a finite score.
    """
    if options.repetition_penalty != 1:
        scores = _penalised(scores, recent, options.repetition_penalty)
    most_likely = int(scores.argmax())
    peak = scores.item(most_likely)
    if not math.isfinite(peak):
        raise damaged_scores()
    if options.temperature == 0 and options.typical == 1:
        return np.array([most_likely]), np.ones(1)
    tokens = _truncated(scores, peak, options)
    weights = scores[tokens].astype(np.float64)
    weights -= peak
    if options.typical < 1:  # then the most likely token may be left out
        weights -= weights.max()
    if options.temperature == 0:
        return tokens[[weights.argmax()]], np.ones(1)
    if options.temperature < 0.01:  # so that the quotient cannot overflow; exp(-800) is 0 anyway
        np.maximum(weights, -800 * options.temperature, out=weights)
    weights /= options.temperature
    return tokens, np.exp(weights, out=weights)


def draw(weights: FloatArray, uniform: float) -> int:
    """Turn a random number from [0, 1) into an index, each with a probability proportional to its weight.

    This inverts the cumulative distribution.
    """
    cumulative = weights.cumsum()
    index = int(cumulative.searchsorted(uniform * cumulative.item(-1), side="right"))
    return index if index < len(weights) else int(weights.nonzero()[0][-1])  # rounding reached the end


def damaged_scores() -> ModelError:
    """Return the error to raise where no token has a finite score."""
    return ModelError("the model's scores are not finite numbers", hint="train it again: its weights are damaged")


def _penalised(scores: FloatArray, recent: Collection[int], penalty: float) -> FloatArray:
    """Make recent tokens less likely, as CTRL (Keskar et al. 2019, arXiv:1909.05858) and llama.cpp do.

    Their rule depends on the sign of a score. Our scores are known only up to a constant; we choose it so that their
    mean is 0.
    """
    tokens = np.array(sorted(set(recent)), dtype=np.intp)
    scores = scores - scores.mean(where=scores > -np.inf)
    values = scores[tokens]
    scores[tokens] = np.where(values > 0, values / penalty, values * penalty)
    return scores


def _truncated(scores: FloatArray, peak: float, options: SamplingOptions) -> IntArray:
    """Return the tokens that top-k, typical, top-p and min-p leave, ascending, ``(K,)``."""
    if options.top_p == 1 and options.typical == 1:  # then the order of the filters does not matter; min-p is fastest
        floor = peak + math.log(options.min_p) if options.min_p > 0 else -math.inf
        kept = scores >= np.asarray(floor, scores.dtype) if options.min_p > 0 else scores > -np.inf
        tokens: IntArray = kept.nonzero()[0]
        return _most_likely(tokens, scores, options.top_k)
    tokens = _most_likely(np.flatnonzero(scores > -np.inf), scores, options.top_k)
    if options.typical < 1:
        tokens = _typical(tokens, scores, peak, options.typical)
        peak = float(scores[tokens].max())
    if options.top_p < 1:
        tokens = _nucleus(tokens, scores, peak, options.top_p)
    return tokens[scores[tokens] >= peak + math.log(options.min_p)] if options.min_p > 0 else tokens


def _most_likely(tokens: IntArray, scores: FloatArray, top_k: int) -> IntArray:
    """Keep the ``top_k`` most likely tokens; of equals those with lower ids."""
    if top_k == 0 or top_k >= len(tokens):
        return tokens
    order = np.argsort(-scores[tokens], kind="stable")
    return np.sort(tokens[order[:top_k]])


def _nucleus(tokens: IntArray, scores: FloatArray, peak: float, top_p: float) -> IntArray:
    """Keep the fewest most likely tokens with a total probability of ``top_p`` (Holtzman et al., arXiv:1904.09751)."""
    order = np.argsort(-scores[tokens], kind="stable")
    weights = np.exp(scores[tokens[order]].astype(np.float64) - peak)
    cumulative = weights.cumsum()
    count = int(cumulative.searchsorted(top_p * cumulative[-1])) + 1
    return np.sort(tokens[order[:count]])


def _typical(tokens: IntArray, scores: FloatArray, peak: float, typical: float) -> IntArray:
    """Keep the fewest tokens with a total probability of ``typical``.

    Those come first whose surprisal is nearest to its mean, the entropy (Meister et al. 2022, arXiv:2202.00666).
    """
    weights = np.subtract(scores[tokens], peak, dtype=np.float64)
    surprisals = math.log(float(np.exp(weights).sum())) - weights
    probabilities = np.exp(-surprisals)
    entropy = float(np.dot(probabilities, surprisals))
    order = np.argsort(np.abs(surprisals - entropy), kind="stable")
    cumulative = probabilities[order].cumsum()
    count = int(cumulative.searchsorted(typical * cumulative[-1])) + 1
    return np.sort(tokens[order[:count]])
