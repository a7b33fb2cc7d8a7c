"""Scores in, the next token out: penalties, truncation and temperature, then one draw.

The filters run in llama.cpp's order: repetition penalty, top-k, typical, top-p, min-p, and the temperature last; each
sees what the one before it left, renormalised. So what is left to draw from does not depend on the temperature: a high
one mixes the sensible choices, it does not let in the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from gru_complete.arrays import FloatArray, IntArray
from gru_complete.errors import ModelError
from gru_complete.runtime.options import SamplingOptions


def candidates(
    logits: FloatArray,
    options: SamplingOptions,
    *,
    recent: Iterable[int] = (),
    mask: FloatArray | None = None,
    blocked: Sequence[int] = (),
) -> tuple[IntArray, FloatArray]:
    """Decide which tokens may come next and how likely each is, all but for the sum (``draw`` needs no more).

    Args:
        logits: unnormalised log probabilities, ``(V,)``.
        options: the filters and the temperature.
        recent: the latest tokens of the text, which ``repetition_penalty`` makes less likely.
        mask: added to the logits, ``(V,)``: 0 where a token may come, -inf where it may not.
        blocked: tokens that may not come either, unless there are no others.

    Returns:
        The tokens left, ascending, ``(K,)``, and in float64 what their probabilities are proportional to, ``(K,)``.

    Raises:
        ModelError: no token has a finite score.
    """
    scores = logits if mask is None else logits + mask
    if blocked:
        scores = without(scores, blocked)
    if options.repetition_penalty != 1:
        scores = _penalised(scores, recent, options.repetition_penalty)
    likeliest = int(scores.argmax())
    peak = scores.item(likeliest)
    if not math.isfinite(peak):
        raise damaged_scores()
    if options.temperature == 0 and options.typical == 1:
        return np.array([likeliest]), np.ones(1)
    tokens = _truncated(scores, peak, options)
    weights = scores[tokens].astype(np.float64)
    weights -= peak
    if options.typical < 1:  # the likeliest may be left out
        weights -= weights.max()
    if options.temperature == 0:
        return tokens[[weights.argmax()]], np.ones(1)
    if options.temperature < 0.01:  # so that the quotient cannot overflow; exp(-800) is 0 anyway
        np.maximum(weights, -800 * options.temperature, out=weights)
    weights /= options.temperature
    return tokens, np.exp(weights, out=weights)


def distribution(
    logits: FloatArray,
    options: SamplingOptions,
    *,
    recent: Iterable[int] = (),
    mask: FloatArray | None = None,
    blocked: Sequence[int] = (),
) -> FloatArray:
    """Return the probability of every token, ``(V,)``, 0 for those filtered out; arguments as ``candidates``."""
    tokens, weights = candidates(logits, options, recent=recent, mask=mask, blocked=blocked)
    probabilities = np.zeros(len(logits))
    probabilities[tokens] = weights / weights.sum()
    return probabilities


def draw(weights: FloatArray, uniform: float) -> int:
    """Turn a random number in [0, 1) into an index, each as likely as its weight says (inverse of the cumulative)."""
    cumulative = weights.cumsum()
    index = int(cumulative.searchsorted(uniform * cumulative.item(-1), side="right"))
    return index if index < len(weights) else int(weights.nonzero()[0][-1])  # rounding reached the end


def without(scores: FloatArray, blocked: Sequence[int]) -> FloatArray:
    """Return scores ``(V,)`` that are -inf for the blocked tokens, or, were none left, the scores as they are."""
    rest = scores.copy()
    rest[list(blocked)] = -np.inf
    return rest if rest.max() > -np.inf else scores


def damaged_scores() -> ModelError:
    """Return what to raise where no token has a finite score."""
    return ModelError("the model's scores are not finite numbers", hint="train it again: its weights are damaged")


def _penalised(scores: FloatArray, recent: Iterable[int], penalty: float) -> FloatArray:
    """Make recent tokens less likely, as CTRL (Keskar et al. 2019, arXiv:1909.05858) and llama.cpp do.

    They go by the scores' sign. Ours are known up to a constant, so it is chosen: their mean is 0.
    """
    tokens = np.array(sorted(set(recent)), dtype=np.intp)
    scores = scores - scores.mean(where=scores > -np.inf)
    values = scores[tokens]
    scores[tokens] = np.where(values > 0, values / penalty, values * penalty)
    return scores


def _truncated(scores: FloatArray, peak: float, options: SamplingOptions) -> IntArray:
    """Return the tokens that top-k, typical, top-p and min-p leave, ascending."""
    if options.top_p == 1 and options.typical == 1:  # then their order does not matter, and min-p is the quickest
        floor = peak + math.log(options.min_p) if options.min_p > 0 else -math.inf
        kept = scores >= np.asarray(floor, scores.dtype) if options.min_p > 0 else scores > -np.inf
        tokens: IntArray = kept.nonzero()[0]
        return _likeliest(tokens, scores, options.top_k)
    tokens = _likeliest(np.flatnonzero(scores > -np.inf), scores, options.top_k)
    if options.typical < 1:
        tokens = _typical(tokens, scores, peak, options.typical)
        peak = float(scores[tokens].max())
    if options.top_p < 1:
        tokens = _nucleus(tokens, scores, peak, options.top_p)
    return tokens[scores[tokens] >= peak + math.log(options.min_p)] if options.min_p > 0 else tokens


def _likeliest(tokens: IntArray, scores: FloatArray, top_k: int) -> IntArray:
    """Keep the ``top_k`` likeliest; of equals those with lower ids."""
    if top_k == 0 or top_k >= len(tokens):
        return tokens
    order = np.argsort(-scores[tokens], kind="stable")
    return np.sort(tokens[order[:top_k]])


def _nucleus(tokens: IntArray, scores: FloatArray, peak: float, top_p: float) -> IntArray:
    """Keep the fewest likeliest with probability ``top_p`` together (Holtzman et al. 2020, arXiv:1904.09751)."""
    order = np.argsort(-scores[tokens], kind="stable")
    weights = np.exp(scores[tokens[order]].astype(np.float64) - peak)
    cumulative = weights.cumsum()
    count = int(cumulative.searchsorted(top_p * cumulative[-1])) + 1
    return np.sort(tokens[order[:count]])


def _typical(tokens: IntArray, scores: FloatArray, peak: float, typical: float) -> IntArray:
    """Keep the fewest whose surprisal is nearest to the entropy, the mean surprisal, with that probability together."""
    weights = np.subtract(scores[tokens], peak, dtype=np.float64)
    surprisals = math.log(float(np.exp(weights).sum())) - weights
    probabilities = np.exp(-surprisals)
    entropy = float(np.dot(probabilities, surprisals))
    order = np.argsort(np.abs(surprisals - entropy), kind="stable")
    cumulative = probabilities[order].cumsum()
    count = int(cumulative.searchsorted(typical * cumulative[-1])) + 1
    return np.sort(tokens[order[:count]])
