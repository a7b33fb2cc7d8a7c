"""Two n-gram models as one: that of a person's text, and that of the base the model started from.

Linear interpolation, with a share that depends on how well each of the two knows the context (Jelinek and Mercer 1980;
Chen and Goodman 1998, section 2.3)::

    p(w | h) = s(h) p_own(w | h) + (1 - s(h)) p_base(w | h)
    s(h)     = 1 / (1 + exp(-f(h) . u))

where f(h) are the features of the evidence of both, as the mixing weights see them, and u the *shares*, fitted on the
tuning split (``training/mixing.py``). A pair can do what an n-gram model can. Its contexts are those of the two, one
after the other, and its evidence is that of the one which knows more of the context.

Shapes: V vocab_size, N contexts or tokens of a stream.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gru_complete.arrays import Float32Array, Float64Array, IntArray
from gru_complete.errors import ModelError
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.evidence import NUM_SLOPES, Context, Evidence, EvidenceArrays, StreamScores, evidence_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gru_complete.arrays import TokenIds

SHARES, _BASE = "base_shares", "base."  # a name, and the beginning of names, in the file: a format
_MAX_SHARE = 1000.0
_LARGEST_SCORE = 30.0  # keeps exp from overflowing


class NGramPair:
    """The n-gram model of a text beside that of a base.

    Args:
        own: that of the text.
        base: that of the base, of the same vocabulary.
        shares: u: for the features of ``own``, then those of ``base``, float32
            ``(own.order + NUM_SLOPES + base.order + NUM_SLOPES,)``.
    """

    def __init__(self, own: NGrams, base: NGrams, shares: Float32Array) -> None:
        self.own, self.base, self.shares = own, base, shares
        self.vocab_size = own.vocab_size
        self.order = max(own.order, base.order)
        self._listed: list[float] = shares.tolist()
        self._split = own.order - 1  # where the base's part of a context begins

    def with_own(self, own: NGrams) -> NGramPair:
        """The same with another model of the text, of the same order."""
        return NGramPair(own, self.base, self.shares)

    # ------------------------------------------------------------------------------------ stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], vocab_size: int) -> NGramPair:
        """Use arrays after checking all that a lookup relies on; they may come from a stranger.

        Raises:
            ModelError: a name, shape, type or value is not what ``to_arrays`` gives.
        """
        of_base = {name.removeprefix(_BASE): array for name, array in arrays.items() if name.startswith(_BASE)}
        of_own = {name: array for name, array in arrays.items() if name != SHARES and not name.startswith(_BASE)}
        own, base = NGrams.from_arrays(of_own, vocab_size), NGrams.from_arrays(of_base, vocab_size)
        shares, size = arrays[SHARES], own.order + base.order + 2 * NUM_SLOPES
        if shares.dtype != np.float32 or shares.shape != (size,) or not bool((np.abs(shares) <= _MAX_SHARE).all()):
            raise ModelError("the shares of the n-gram models are malformed")
        return cls(own, base, shares)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that is stored, by name; ``from_arrays`` reads it back."""
        of_base = {_BASE + name: array for name, array in self.base.to_arrays().items()}
        return {SHARES: self.shares, **self.own.to_arrays(), **of_base}

    @property
    def num_bytes(self) -> int:
        """The size of the arrays that are stored."""
        return self.own.num_bytes + self.base.num_bytes + self.shares.nbytes

    # ------------------------------------------------------------------------------------ one context

    def empty_context(self) -> Context:
        """The context in which nothing has been read."""
        return self.own.empty_context() + self.base.empty_context()

    def cut_off_context(self) -> Context:
        """The context of a text that may begin in the middle of something."""
        return self.own.cut_off_context() + self.base.cut_off_context()

    def advance(self, context: Context, token: int) -> Context:
        """The context after one more token."""
        return self.own.advance(context[: self._split], token) + self.base.advance(context[self._split :], token)

    def evidence(self, context: Context) -> Evidence:
        """How well a context is known."""
        return _better(self.own.evidence(context[: self._split]), self.base.evidence(context[self._split :]))

    def distribution(self, context: Context) -> Float32Array:
        """Probability of each token in a context, ``(V,)``: all above 0, their sum 1; the caller may change it."""
        return self.distribution_and_evidence(context)[0]

    def distribution_and_evidence(self, context: Context) -> tuple[Float32Array, Evidence]:
        """What ``distribution`` and ``evidence`` say."""
        row, of_own = self.own.distribution_and_evidence(context[: self._split])
        base_row, of_base = self.base.distribution_and_evidence(context[self._split :])
        share = self._share_of_one(of_own, of_base)
        row *= np.float32(share)
        base_row *= np.float32(1 - share)
        row += base_row
        return row, _better(of_own, of_base)

    def _share_of_one(self, of_own: Evidence, of_base: Evidence) -> float:
        """s(h) in plain numbers: a tenth of the time of arrays."""
        total, start = 0.0, 0
        for (length, seen, num_followers), order in ((of_own, self.own.order), (of_base, self.base.order)):
            seen = max(seen, 1.0)
            total += self._listed[start + length]
            total += self._listed[start + order] * math.log1p(seen) / 3
            total += self._listed[start + order + 1] * math.log(num_followers / seen + 1e-3)
            start += order + NUM_SLOPES
        return 1 / (1 + math.exp(-min(max(total, -_LARGEST_SCORE), _LARGEST_SCORE)))

    # ------------------------------------------------------------------------------------ no context

    def token_frequencies(self) -> Float64Array:
        """How often each token is written, ``(V,)``: all above 0, their sum 1."""
        return (self.own.token_frequencies() + self.base.token_frequencies()) / 2

    # ------------------------------------------------------------------------------------ many contexts

    def distributions_and_evidence(self, contexts: Sequence[Context]) -> tuple[Float32Array, EvidenceArrays]:
        """``distribution_and_evidence`` of some dozens of contexts, at least one: ``(N, V)`` and N."""
        rows, of_own = self.own.distributions_and_evidence([context[: self._split] for context in contexts])
        base_rows, of_base = self.base.distributions_and_evidence([context[self._split :] for context in contexts])
        return self._interpolated(rows, base_rows, self._shares_of(of_own, of_base)), _better_of_many(of_own, of_base)

    def distributions(self, contexts: IntArray) -> Float32Array:
        """The distribution in each of many contexts ``(N, own.order - 1 + base.order - 1)``: ``(N, V)``."""
        own, base = contexts[:, : self._split], contexts[:, self._split :]
        shares = self._shares_of(self.own.evidence_of_many(own), self.base.evidence_of_many(base))
        return self._interpolated(self.own.distributions(own), self.base.distributions(base), shares)

    def contexts(self, stream: TokenIds, start: Context | None = None) -> IntArray:
        """The context after each token of a stream, ``(N, own.order - 1 + base.order - 1)``.

        Args:
            stream: token ids, ``(N,)``.
            start: the context before the first token; the empty one, if omitted.
        """
        own_start, base_start = self._parts(start)
        return np.concatenate([self.own.contexts(stream, own_start), self.base.contexts(stream, base_start)], axis=1)

    def score_stream(self, stream: TokenIds, start: Context | None = None) -> StreamScores:
        """Score every token of a stream but the first, each after those before it.

        Args:
            stream: token ids, ``(N,)``.
            start: the context before the first token; the empty one, if omitted.
        """
        own_start, base_start = self._parts(start)
        own, base = self.own.score_stream(stream, own_start), self.base.score_stream(stream, base_start)
        shares = self._shares_of(own.evidence, base.evidence)
        probabilities: Float32Array = shares * own.probabilities + (1 - shares) * base.probabilities
        return StreamScores(probabilities, *_better_of_many(own.evidence, base.evidence))

    def _parts(self, context: Context | None) -> tuple[Context | None, Context | None]:
        return (None, None) if context is None else (context[: self._split], context[self._split :])

    def _shares_of(self, of_own: EvidenceArrays, of_base: EvidenceArrays) -> Float32Array:
        """s(h) of many contexts, ``(N,)``."""
        features = [evidence_features(of_own, self.own.order), evidence_features(of_base, self.base.order)]
        scores = np.clip(np.concatenate(features, axis=1) @ self.shares, -_LARGEST_SCORE, _LARGEST_SCORE)
        shares: Float32Array = 1 / (1 + np.exp(-scores))
        return shares

    @staticmethod
    def _interpolated(own: Float32Array, base: Float32Array, shares: Float32Array) -> Float32Array:
        """Distributions ``(N, V)``; ``own`` becomes the result, and ``base`` is changed, too."""
        own *= shares[:, None]
        base *= (1 - shares)[:, None]
        own += base
        return own


def _better(first: Evidence, second: Evidence) -> Evidence:
    """The evidence of the longer known context; of equally long ones, of what was seen more often."""
    return first if first[:2] >= second[:2] else second


def _better_of_many(first: EvidenceArrays, second: EvidenceArrays) -> EvidenceArrays:
    is_first = (first.lengths > second.lengths) | ((first.lengths == second.lengths) & (first.totals >= second.totals))
    return EvidenceArrays(*(np.where(is_first, a, b) for a, b in zip(first, second, strict=True)))
