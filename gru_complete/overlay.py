"""Learning from the text at hand: counts of the document so far, laid over what the model says.

What the prompt or the document has said before is likely to be said again, names above all. The overlay counts what
followed each context of one to five tokens, and raises the model's probability of it: it starts from the model's
distribution q_0 and goes from the shortest context that was seen to the longest (absolute discounting; after one token
only, which says little, the model keeps a strength of its own)::

    q_k(w) = (max(c_k(w) - d, 0) + (d t_k + a_k) q_{k-1}(w)) / (n_k + a_k)

where c_k(w) counts w after the last k tokens, n_k all tokens and t_k the different ones there. The result is believed
as far as the evidence goes: p = g q_0 + (1 - g) q_K, where the gate g depends on the longest context K, how often it
was seen, whether one token only followed it, and how much the model's own counts knew. A token is counted after a
shorter context only when it is new after all longer ones (update exclusion, Moffat 1990), as in Kneser-Ney estimates.

The constants belong to no model: fitted on a drama and on prose, those of either did as well on the other
(``benchmarks/recipes.md``).

Shapes: V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LONGEST_CONTEXT = 5
MOST_TOKENS = 100_000
"""Tokens of a document that are remembered at most, about 300 kB of text; then the older half is forgotten."""

_DISCOUNT = 0.5
_MODEL_STRENGTH = 6.7  # a_1; beyond one token it is 0
# The gate, by the longest context of 1 to 5 tokens: a constant, and a slope for the logarithm of how often it was seen.
_BY_LENGTH = (0.0, 0.115, 1.304, 0.155, -0.619, -1.080)
_BY_FREQUENCY = (0.0, 0.735, 0.022, -0.069, -0.102, 0.347)
_ONE_FOLLOWER = -0.421
_BY_VARIETY = 2.197  # for the logarithm of different tokens among those seen
_BY_TEXT = 0.078  # for the logarithm of the tokens learnt
_BY_MODEL_LENGTH = (-0.124, -1.936, -0.301, 0.658, 1.600)  # by the longest context that the model's counts know
_BY_MODEL_FREQUENCY = 0.236  # for the logarithm of how often they have seen it
_MANY = 24  # so many followers are added by numpy sooner than one by one


class Overlay:
    """What one text has said so far. The text's tokens are given by the caller, who may follow it without learning."""

    def __init__(self) -> None:
        # What followed each context, counted; for those seen once, which are most, the token alone: 60 % less memory.
        self._followers: dict[tuple[int, ...], dict[int, int] | int] = {}
        self._tokens: list[int] = []

    def __len__(self) -> int:
        """Tokens that are remembered."""
        return len(self._tokens)

    def learn(self, token: int) -> None:
        """Count the next token of the text after those learnt before it."""
        if len(self._tokens) >= MOST_TOKENS:
            kept = self._tokens[MOST_TOKENS // 2 :]
            self._followers, self._tokens = {}, []
            for earlier in kept:
                self._count(earlier)
        self._count(token)

    def context(self) -> tuple[int, ...]:
        """The last tokens learnt, at most ``LONGEST_CONTEXT``: what ``adjust`` is given where the text goes on."""
        return tuple(self._tokens[-LONGEST_CONTEXT:])

    def adjust(self, probabilities: Floats, context: Sequence[int], length: int, total: float) -> None:
        """Turn the model's distribution after a context into the adapted one, in place.

        Args:
            probabilities: the model's, ``(V,)``; their sum is 1 and stays so.
            context: the last tokens of the text, at least ``LONGEST_CONTEXT`` where there are as many.
            length: tokens in the longest context that the model's own counts know.
            total: how often they have seen it.
        """
        seen = []
        for size in range(1, min(LONGEST_CONTEXT, len(context)) + 1):
            followers = self._followers.get(tuple(context[-size:]))
            if followers is None:
                break
            seen.append(followers if isinstance(followers, dict) else {followers: 1})
        if not seen:
            return
        gate = self._gate(seen[-1], len(seen), length, total)
        scale = 1 - gate  # of what the longest context says, then of what each shorter one does
        shares: list[tuple[dict[int, int], float]] = []
        for size in range(len(seen), 0, -1):
            followers = seen[size - 1]
            strength = _MODEL_STRENGTH if size == 1 else 0.0
            share = scale / (sum(followers.values()) + strength)
            shares.append((followers, share))
            scale = share * (_DISCOUNT * len(followers) + strength)
        probabilities *= np.float32(gate + scale)
        for followers, share in shares:
            if len(followers) > _MANY:
                tokens = np.fromiter(followers.keys(), np.intp, len(followers))
                counts = np.fromiter(followers.values(), np.float32, len(followers))
                probabilities[tokens] += (counts - np.float32(_DISCOUNT)) * np.float32(share)
            else:
                for token, number in followers.items():
                    probabilities[token] += (number - _DISCOUNT) * share

    def _count(self, token: int) -> None:
        tokens = self._tokens
        for size in range(min(LONGEST_CONTEXT, len(tokens)), 0, -1):
            context = tuple(tokens[-size:])
            followers = self._followers.get(context)
            if followers is None:
                self._followers[context] = token
                continue
            if not isinstance(followers, dict):
                followers = self._followers[context] = {followers: 1}
            seen_before = followers.get(token, 0)
            followers[token] = seen_before + 1
            if seen_before:
                break
        tokens.append(token)

    def _gate(self, followers: dict[int, int], size: int, length: int, total: float) -> float:
        """How far the model is believed against the text at hand, between 0 and 1."""
        frequency = sum(followers.values())
        score = (
            _BY_LENGTH[size]
            + _BY_FREQUENCY[size] * math.log(frequency + 1)
            + _BY_VARIETY * math.log(len(followers) / frequency + 1e-3)
            + _BY_TEXT * math.log(len(self._tokens) + 1)
            + _BY_MODEL_LENGTH[min(length, len(_BY_MODEL_LENGTH) - 1)]
            + _BY_MODEL_FREQUENCY * math.log(total + 1)
        )
        if len(followers) == 1:
            score += _ONE_FOLLOWER
        return 1 / (1 + math.exp(-score))
