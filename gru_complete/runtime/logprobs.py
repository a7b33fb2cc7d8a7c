"""How likely each piece of a completion was, and what else might have come: what `--logprobs` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import FloatArray


class Logprob(NamedTuple):
    """A piece of text with its probability, at temperature 1 and with nothing filtered.

    Args:
        text: what it adds to the text: bytes, for a token may be part of a character; b"" is the document's end.
        logprob: the natural logarithm of its probability.
    """

    text: bytes
    logprob: float


class TokenLogprobs(NamedTuple):
    """A token of a completion, and its rivals.

    Args:
        text: as in ``Logprob``.
        logprob: likewise.
        top: the likeliest that might have come in its place, the likeliest first; it may be one of them.
    """

    text: bytes
    logprob: float
    top: tuple[Logprob, ...]


def token_logprobs(texts: Sequence[bytes], scores: FloatArray, index: int, k: int) -> TokenLogprobs:
    """Say how likely a token was.

    Args:
        texts: what each token adds to the text, V byte strings. Tokens with the same bytes are counted apart.
        scores: log probabilities up to a constant, ``(V,)``; -inf where a token cannot come.
        index: the token that came.
        k: how many of the likeliest to name; those that cannot come are none.
    """
    shifted = np.subtract(scores, scores.max(), dtype=np.float64)
    log_probabilities = shifted - np.log(np.exp(shifted).sum())
    order = np.argsort(-log_probabilities, kind="stable")[:k]
    top = [Logprob(texts[place], float(log_probabilities[place])) for place in order if shifted[place] > -np.inf]
    return TokenLogprobs(texts[index], float(log_probabilities[index]), tuple(top))
