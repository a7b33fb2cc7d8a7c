"""Learning from the current document: counts of it so far, laid over what the model says.

What a document has said before it is likely to say again, names above all. The overlay counts which tokens followed
each context of one to five tokens, and raises their probability. It starts from the model's distribution q_0 and goes
from the shortest context that was seen to the longest (absolute discounting; after one token only, which says little,
the model keeps a strength of its own)::

    q_k(w) = (max(c_k(w) - d, 0) + (d t_k + a_k) q_{k-1}(w)) / (n_k + a_k)

where c_k(w) counts w after the last k tokens, and n_k all tokens and t_k the different ones there. How much the result
is trusted depends on the evidence: p = m q_0 + (1 - m) q_K, where the model's share m depends on the length K of the
longest context, how often it was seen, whether only one token followed it, and how well the model's own n-grams know
the place. A token is counted after a shorter context only when it is new after all longer ones (update exclusion,
Moffat 1990), as in Kneser-Ney estimates.

The constants belong to no model: fitted on a drama and on prose, those of either did as well on the other
(``benchmarks/recipes.md``).

Shapes: V vocab_size, N tokens of the document.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gru_complete.arrays import Float32Array, IntArray

FollowerCounts = dict[int, int] | int
"""Tokens and how often each followed; just the token where one followed once: that takes 60 % less RAM."""

MAX_CONTEXT = 5
MAX_TOKENS = 100_000
"""The most tokens of a document that are remembered, about 300 kB of text; beyond, the older half is forgotten."""

_DISCOUNT = 0.5
_MODEL_STRENGTH = 6.7  # a_1; beyond one token it is 0
# The model's share m is a logistic function of a sum. By the length of the longest context that was seen, 1 to 5
# tokens: a constant, and a slope for the logarithm of how often it was seen.
_BY_LENGTH = (0.0, 0.115, 1.304, 0.155, -0.619, -1.080)
_BY_FREQUENCY = (0.0, 0.735, 0.022, -0.069, -0.102, 0.347)
_ONE_FOLLOWER = -0.421
_BY_VARIETY = 2.197  # for the logarithm of different tokens among those seen
_BY_TEXT = 0.078  # for the logarithm of the tokens learnt
_BY_MODEL_LENGTH = (-0.124, -1.936, -0.301, 0.658, 1.600)  # by the longest context that the model's n-grams know
_BY_MODEL_FREQUENCY = 0.236  # for the logarithm of how often they have seen it
_MANY = 24  # more followers than this are added faster by numpy than one by one
_MAX_COPIED = 500  # tokens that a fork copies; longer texts are put into the form that forks share
_MAX_BESIDE_EARLIER = 1000  # tokens; beyond, counting all is cheaper than searching the earlier ones


class Overlay:
    """The counts of one document so far.

    The caller says which tokens to learn, and may score others without learning them.

    Args:
        tokens: the document so far, ``(N,)``, at most ``MAX_TOKENS``. The overlay is the same as after learning them
            one by one, but takes no time to make: each context is counted when it is first asked for.
    """

    def __init__(self, tokens: IntArray | None = None) -> None:
        self._earlier: _EarlierTokens | None = None
        # All tokens; if there is ``_earlier``, only its last few, which contexts reach back to, and those learnt since.
        self._tokens: list[int] = []
        self._num_before = 0
        # What followed each context; if there is ``_earlier``, only of contexts that have changed since.
        self._followers: dict[tuple[int, ...], FollowerCounts] = {}
        if tokens is not None and len(tokens):
            self._learn_at_once(tokens)

    def __len__(self) -> int:
        """The number of tokens that are remembered."""
        return self._num_before + len(self._tokens)

    @property
    def tokens(self) -> IntArray:
        """The tokens that are remembered, ``(N,)``; an overlay made from them is equal to this one."""
        recent = np.array(self._tokens, np.int64)
        return recent if self._earlier is None else np.concatenate((self._earlier.tokens[: self._num_before], recent))

    def fork(self) -> Overlay:
        """A copy that learns independently from now on; it costs little however long the document is."""
        if len(self._tokens) > _MAX_COPIED:
            self._learn_at_once(self.tokens)  # the same counts, in the form that is shared
        other = Overlay()
        other._earlier, other._num_before, other._tokens = self._earlier, self._num_before, self._tokens.copy()
        other._followers = {
            context: followers.copy() if isinstance(followers, dict) else followers
            for context, followers in self._followers.items()
        }
        return other

    def learn(self, token: int) -> None:
        """Count the next token of the text after those learnt before it."""
        if len(self) >= MAX_TOKENS:
            self._count_anew(self.tokens[MAX_TOKENS // 2 :])
        elif self._earlier is not None and len(self._tokens) > _MAX_BESIDE_EARLIER:
            self._count_anew(self.tokens)
        self._count(token)

    def recent_tokens(self) -> tuple[int, ...]:
        """The last tokens learnt, at most ``MAX_CONTEXT``: the context to give to ``adjust`` for the next token."""
        return tuple(self._tokens[-MAX_CONTEXT:])

    def adjust(self, probabilities: Float32Array, context: Sequence[int], length: int, total: float) -> None:
        """Turn the model's distribution after a context into the adapted one, in place.

        Args:
            probabilities: the model's, ``(V,)``; their sum is 1 and stays so.
            context: the last tokens of the text; all beyond ``MAX_CONTEXT`` are ignored.
            length: tokens in the longest context that the model's n-grams know.
            total: how often they have seen it.
        """
        seen = []
        for size in range(1, min(MAX_CONTEXT, len(context)) + 1):
            followers = self._after(tuple(context[-size:]))
            if followers is None:
                break
            seen.append(followers if isinstance(followers, dict) else {followers: 1})
        if not seen:
            return
        model_share = self._model_share(seen[-1], len(seen), length, total)
        scale = 1 - model_share  # of what the longest context says, then of what each shorter one does
        shares: list[tuple[dict[int, int], float]] = []
        for size in range(len(seen), 0, -1):
            followers = seen[size - 1]
            strength = _MODEL_STRENGTH if size == 1 else 0.0
            share = scale / (sum(followers.values()) + strength)
            shares.append((followers, share))
            scale = share * (_DISCOUNT * len(followers) + strength)
        probabilities *= np.float32(model_share + scale)
        for followers, share in shares:
            if len(followers) > _MANY:
                tokens = np.fromiter(followers.keys(), np.intp, len(followers))
                counts = np.fromiter(followers.values(), np.float32, len(followers))
                probabilities[tokens] += (counts - np.float32(_DISCOUNT)) * np.float32(share)
            else:
                for token, number in followers.items():
                    probabilities[token] += (number - _DISCOUNT) * share

    def _learn_at_once(self, tokens: IntArray) -> None:
        """Forget everything and learn these tokens, to be counted when they are asked for."""
        self._earlier, self._followers = _EarlierTokens(tokens), {}
        self._tokens = tokens[-MAX_CONTEXT:].tolist()
        self._num_before = len(tokens) - len(self._tokens)

    def _after(self, context: tuple[int, ...]) -> FollowerCounts | None:
        """What followed a context; None if nothing did."""
        followers = self._followers.get(context)
        return followers if followers is not None or self._earlier is None else self._earlier.followers(context)

    def _count_anew(self, tokens: IntArray) -> None:
        """Forget everything and learn these tokens one by one."""
        self._earlier, self._followers, self._tokens, self._num_before = None, {}, [], 0
        for token in tokens.tolist():
            self._count(token)

    def _count(self, token: int) -> None:
        """Count a token after its longest contexts, down to the first after which it was seen before."""
        recent = self.recent_tokens()
        for size in range(len(recent), 0, -1):
            context = recent[-size:]
            followers = self._after(context)
            if followers is None:
                self._followers[context] = token
                continue
            if not isinstance(followers, dict):
                followers = self._followers[context] = {followers: 1}
            elif self._earlier is not None and context not in self._followers:
                followers = self._followers[context] = followers.copy()  # the earlier ones are shared
            seen_before = followers.get(token, 0)
            followers[token] = seen_before + 1
            if seen_before:
                break
        self._tokens.append(token)

    def _model_share(self, followers: dict[int, int], size: int, length: int, total: float) -> float:
        """How much the model is trusted against the current document, between 0 and 1."""
        frequency = sum(followers.values())
        score = (
            _BY_LENGTH[size]
            + _BY_FREQUENCY[size] * math.log(frequency + 1)
            + _BY_VARIETY * math.log(len(followers) / frequency + 1e-3)
            + _BY_TEXT * math.log(len(self) + 1)
            + _BY_MODEL_LENGTH[min(length, len(_BY_MODEL_LENGTH) - 1)]
            + _BY_MODEL_FREQUENCY * math.log(total + 1)
        )
        if len(followers) == 1:
            score += _ONE_FOLLOWER
        return 1 / (1 + math.exp(-score))


class _EarlierTokens:
    """What followed each context in a text that was learnt at once: counted when first asked for, never changed.

    Counting all of 100,000 tokens would take a third of a second, and a completion asks for a few contexts only.

    Args:
        tokens: of the text, ``(N,)``, at least one.
    """

    def __init__(self, tokens: IntArray) -> None:
        self.tokens = tokens
        self._counted: dict[tuple[int, ...], FollowerCounts | None] = {}

    def followers(self, context: tuple[int, ...]) -> FollowerCounts | None:
        """What followed a context, counted as ``Overlay`` does; None if nothing did."""
        if context not in self._counted:
            self._counted[context] = self._count(context)
        return self._counted[context]

    def _count(self, context: tuple[int, ...]) -> FollowerCounts | None:
        """Find the places of the context in the text, and count the tokens after them."""
        places = np.flatnonzero(self.tokens[:-1] == context[-1])  # of the context's last token
        for distance, token in enumerate(context[-2::-1], start=1):
            places = places[places >= distance]
            places = places[self.tokens[places - distance] == token]
        if not len(places):
            return None
        followers = self.tokens[places + 1].astype(np.int64)
        size = len(context)
        if size < MAX_CONTEXT:  # then each counts only where it is new after the longer context
            before = np.where(places >= size, self.tokens[places - size].astype(np.int64), -1)
            followers = np.unique(before << 32 | followers) & 0xFFFFFFFF
        tokens, numbers = np.unique(followers, return_counts=True)
        counts: dict[int, int] = dict(zip(tokens.tolist(), numbers.tolist(), strict=True))
        return next(iter(counts)) if len(counts) == 1 and numbers[0] == 1 else counts
