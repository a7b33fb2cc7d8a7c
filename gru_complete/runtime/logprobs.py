"""How likely each token of a completion was, and what else might have come: the content of `--logprobs`.

Shapes: V vocab_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import FloatArray


class Logprob(NamedTuple):
    """What a token adds to the text, with its probability at temperature 1 and before all filters.

    Attributes:
        text: bytes, since a token may be part of a character; b"" is the document end.
        logprob: the natural logarithm of its probability.
    """

    text: bytes
    logprob: float


class TokenLogprobs(NamedTuple):
    """A token of a completion, and its rivals.

    Attributes:
        text: as in ``Logprob``.
        logprob: as in ``Logprob``.
        top: the most likely tokens at this place, the most likely first; perhaps including this one.
    """

    text: bytes
    logprob: float
    top: tuple[Logprob, ...]


def token_logprobs(texts: Sequence[bytes], scores: FloatArray, index: int, k: int) -> TokenLogprobs:
    """Compute how likely a token was.

    Args:
        texts: what each token adds to the text, V byte strings. Tokens with the same bytes are not merged.
        scores: natural log probabilities up to a constant, ``(V,)``; -inf where a token cannot come.
        index: the token that came.
        k: the number of rivals to list; fewer are listed if fewer can come.
    """
    shifted = np.subtract(scores, scores.max(), dtype=np.float64)
    log_probabilities = shifted - np.log(np.exp(shifted).sum())
    order = np.argsort(-log_probabilities, kind="stable")[:k]
    top = [Logprob(texts[place], float(log_probabilities[place])) for place in order if shifted[place] > -np.inf]
    return TokenLogprobs(texts[index], float(log_probabilities[index]), tuple(top))
