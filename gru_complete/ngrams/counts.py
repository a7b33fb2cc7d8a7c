"""The n-gram model: the probability of each token after a context of a few tokens.

The estimate is interpolated Kneser-Ney with three discounts per order (Chen and Goodman 1998, TR-10-98, section 3)::

    P_k(w | h) = (c(h w) - D_k(c)) / c(h) + b(h) P_{k-1}(w | h without its first token)
    b(h)       = 1 - sum over w of (c(h w) - D_k(c)) / c(h)

where c(h w) counts occurrences at the highest order, and below it the different tokens seen before ``h w``; c(h) is
the sum of c(h w) over w; the discount D_k(c) depends on whether the count is 1, 2, or 3 and more. So every context
gives what its discounts have saved, the share b(h), to the next shorter context. Below the unigrams lies the uniform
distribution.

Kneser-Ney's counts suppose that the longer context is known and was not seen. At the beginning of a prompt it is not
known, only cut off: there c counts occurrences, too, for the longest context (``cut_off_context``).

A context never reaches back beyond a document end, which itself may be its first token. An n-gram that starts with a
document end has nothing before it and is counted by its occurrences at every order.

The formula is computed in three ways, which the tests compare: for all V tokens after one context with plain Python and
few calls of numpy, since a completion waits for each token (``distribution_and_evidence``); for all V tokens after many
contexts side by side (``distributions_and_evidence`` for dozens of them, ``distributions`` for thousands); and for
one given token after each context, from the uniform distribution upwards (``score_stream``).

Shapes: V vocab_size, N tokens of a stream or contexts side by side, C n-grams of one level of the trie.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.arrays import Float32Array, Float64Array, IntArray
from gru_complete.ngrams.evidence import CUT_OFF, Context, Evidence, EvidenceArrays, StreamScores
from gru_complete.ngrams.trie import CODES, MIN_WEIGHT, VALUES, Trie
from gru_complete.text.tokenizer import DOCUMENT_END

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gru_complete.arrays import TokenIds
    from gru_complete.ngrams.batched import BatchedLookup

DEFAULT_ORDER = 5
MANY_DOCUMENTS = 100
"""From this number on, a prompt is taken for the beginning of a document, else for that of a line or paragraph."""
BLOCK_TOKENS = 1 << 17
"""Tokens of a stream that are scored at once."""

_CACHED_BYTES = 4 << 20  # for distributions after one token: where V = 2048, most texts' 512 most frequent tokens
_CACHED_FOLLOWERS = 4096
_MAX_FEW = 6  # followers that Python has added up before numpy has started
_MIN_BATCH = 12  # contexts from which on a batched lookup is faster than one after the other


class _Followers(NamedTuple):
    """The stored followers of one context.

    Attributes:
        total: c(h): their counts together, with those that were dropped.
        kept: their discounted counts together.
        tokens: which they are.
        shares: the discounted count of each.
    """

    total: float
    kept: float
    tokens: IntArray
    shares: Float32Array


class NGrams:
    """An n-gram model: counts of contexts and their followers, and the probabilities they give.

    Attributes:
        vocab_size: V.
        order: tokens in the longest n-gram; contexts have up to one less.
        trie: what is stored.
    """

    def __init__(self, trie: Trie) -> None:
        """Take over a trie that ``count_ngrams`` made or ``Trie.from_arrays`` checked."""
        self.trie = trie
        self._levels = levels = trie.levels
        self.order = len(levels)
        self.vocab_size = len(levels[0].counts)
        self._first = [level.first for level in levels[:-1]]
        taken = np.minimum(trie.discounts[:, np.clip(CODES, 1, 3) - 1], VALUES)
        self._shares = VALUES - taken  # (order, 256): by code, a count less its discount
        self._float_shares = self._shares.astype(np.float32)
        self._value_and_share = np.stack([np.broadcast_to(VALUES, self._shares.shape), self._shares], axis=-1)
        self._ones = np.ones(self.vocab_size)
        # Python reads single numbers from these several times faster than from arrays.
        self._quick_first = [first.data for first in self._first]
        self._quick_tokens = [level.tokens.data for level in levels]
        self._quick_dropped = [level.dropped.data for level in levels[:-1]]
        self._quick_counts = [level.counts.data for level in levels]
        self._quick_shares = self._shares.tolist()
        self._quick_values = VALUES.tolist()
        self._after_one = lru_cache(max(64, _CACHED_BYTES // (4 * self.vocab_size)))(self._distribution_after_one)
        self._followers = lru_cache(_CACHED_FOLLOWERS)(self._stored_followers)
        self._occurring = lru_cache(_CACHED_FOLLOWERS)(self._occurring_followers)

    # ------------------------------------------------------------------------------------ stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], vocab_size: int) -> NGrams:
        """Use arrays as they are, after checking all that a lookup relies on; they may come from a stranger.

        Raises:
            ModelError: a name, shape, type or value is not what ``to_arrays`` gives.
        """
        return cls(Trie.from_arrays(arrays, vocab_size))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All that is stored, by name; ``from_arrays`` reads it back."""
        return self.trie.to_arrays()

    @property
    def num_bytes(self) -> int:
        """The size of the arrays that are stored."""
        return sum(array.nbytes for array in self.to_arrays().values())

    # ------------------------------------------------------------------------------------ one context

    def empty_context(self) -> Context:
        """The context in which nothing has been read."""
        return (-1,) * (self.order - 1)

    def cut_off_context(self) -> Context:
        """The context of a text that may begin in the middle of something: what comes before it is not known.

        If many documents were counted, it is looked up as the beginning of one, and if none begins like it, as one of
        which the past is not known.
        """
        unknown = (CUT_OFF,) * (self.order - 1)
        return self.advance(unknown, DOCUMENT_END) if self._has_many_documents else unknown

    def advance(self, context: Context, token: int) -> Context:
        """The context after one more token."""
        if self.order == 1:
            return ()
        if token == DOCUMENT_END:
            return (token,) + (min(context[-1], -1),) * (self.order - 2)
        following = [token]
        for depth, node in enumerate(context[:-1]):
            child = node
            if node >= 0:
                child = CUT_OFF if context[depth + 1] == CUT_OFF else -1
                first, tokens = self._quick_first[depth], self._quick_tokens[depth + 1]
                stop = first[node + 1]
                at = bisect_left(tokens, token, first[node], stop)
                if at < stop and tokens[at] == token:
                    child = at
            following.append(child)
        return tuple(following)

    def evidence(self, context: Context) -> Evidence:
        """How well a context is known."""
        if CUT_OFF in context:
            return self._cut_off_distribution(context)[1]
        for depth in reversed(range(self.order - 1)):
            node = context[depth]
            if node >= 0:
                start, stop = self._quick_first[depth][node], self._quick_first[depth][node + 1]
                if start < stop:
                    return Evidence(depth + 1, self._followers(depth, node, start, stop).total, stop - start)
        return Evidence(0, self._unigram_backoff[1], self.vocab_size)

    def distribution(self, context: Context) -> Float32Array:
        """Probability of each token in a context, ``(V,)``: all above 0, their sum 1; the caller may change it."""
        return self.distribution_and_evidence(context)[0]

    def distribution_and_evidence(self, context: Context) -> tuple[Float32Array, Evidence]:
        """What ``distribution`` and ``evidence`` say, in one walk from the longest context to the shortest."""
        if CUT_OFF in context:
            return self._cut_off_distribution(context)
        weight = 1.0  # what the longer contexts leave to this one: the product of their b(h)
        few: list[tuple[list[int], list[float], float]] = []
        many: list[tuple[IntArray, Float32Array, float]] = []
        longest: Evidence | None = None
        for depth in range(self.order - 2, 0, -1):
            node = context[depth]
            if node < 0:
                continue
            first = self._quick_first[depth]
            start, stop = first[node], first[node + 1]
            if start < stop:
                if stop - start <= _MAX_FEW:
                    total, kept, tokens, shares = self._few_followers(depth, node, start, stop)
                    few.append((tokens, shares, weight / total))
                else:
                    total, kept, indices, counts = self._followers(depth, node, start, stop)
                    many.append((indices, counts, weight / total))
                longest = longest or Evidence(depth + 1, total, stop - start)
                weight = max(weight * (1 - kept / total), MIN_WEIGHT)
        after_one, evidence = self._after_one(context[0] if context else -1)
        row: Float32Array = after_one * weight
        for indices, counts, scale in many:
            row[indices] += counts * scale
        for tokens, shares, scale in few:
            for token, share in zip(tokens, shares, strict=True):
                row[token] += share * scale
        return row, longest or evidence

    def _cut_off_distribution(self, context: Context) -> tuple[Float32Array, Evidence]:
        """``distribution_and_evidence`` where the beginning of the text cuts contexts off."""
        weight = 1.0
        terms: list[tuple[IntArray, Float32Array, float]] = []
        longest: Evidence | None = None
        for depth in range(self.order - 2, -1, -1):
            node = context[depth]
            if node < 0:
                continue
            start, stop = self._quick_first[depth][node], self._quick_first[depth][node + 1]
            if start < stop:
                is_cut_off = context[depth + 1 : depth + 2] == (CUT_OFF,)
                followers = self._occurring if is_cut_off else self._followers
                total, kept, tokens, shares = followers(depth, node, start, stop)
                terms.append((tokens, shares, weight / total))
                longest = longest or Evidence(depth + 1, total, stop - start)
                weight = max(weight * (1 - kept / total), MIN_WEIGHT)
        row: Float32Array = self._unigrams * np.float32(weight)
        for tokens, shares, scale in terms:
            row[tokens] += shares * np.float32(scale)
        return row, longest or Evidence(0, self._unigram_backoff[1], self.vocab_size)

    def _occurring_followers(self, depth: int, node: int, start: int, stop: int) -> _Followers:
        """``_stored_followers`` with how often they occur for their counts."""
        level = self._levels[depth + 1]
        occurrences = self.trie.occurrences_after(depth, node)
        one, two, more = self.trie.discounts[depth + 1].tolist()
        shares = occurrences - np.select([occurrences <= 1, occurrences <= 2], [one, two], more)
        total = float(occurrences.sum()) + self._quick_values[self._quick_dropped[depth][node]]
        tokens = level.tokens[start:stop].astype(np.intp)
        return _Followers(total, float(shares.sum()), tokens, shares.astype(np.float32))

    def _distribution_after_one(self, node: int) -> tuple[Float32Array, Evidence]:
        """The distribution and the evidence after one token (or none: -1), where the lookup of all contexts ends."""
        start, stop = (self._quick_first[0][node], self._quick_first[0][node + 1]) if node >= 0 else (0, 0)
        if start == stop:
            return self._unigrams, Evidence(0, self._unigram_backoff[1], self.vocab_size)
        total, kept, tokens, counts = self._stored_followers(0, node, start, stop)
        row: Float32Array = self._unigrams * max(1 - kept / total, MIN_WEIGHT)
        row[tokens] += counts * (1 / total)
        return row, Evidence(1, total, stop - start)

    def _few_followers(
        self, depth: int, node: int, start: int, stop: int
    ) -> tuple[float, float, list[int], list[float]]:
        """``_stored_followers`` of a few in plain Python, as total, kept, tokens, shares."""
        total, kept = self._quick_values[self._quick_dropped[depth][node]], 0.0
        values, shares, counts = self._quick_values, self._quick_shares[depth + 1], []
        for code in self._quick_counts[depth + 1][start:stop]:
            total += values[code]
            kept += shares[code]
            counts.append(shares[code])
        return total, kept, self._quick_tokens[depth + 1][start:stop].tolist(), counts

    def _stored_followers(self, depth: int, node: int, start: int, stop: int) -> _Followers:
        """The followers of a node, which lie from ``start`` to ``stop`` in the next level."""
        level = self._levels[depth + 1]
        codes = level.counts[start:stop]
        sums = self._ones[: stop - start].dot(self._value_and_share[depth + 1].take(codes, axis=0))  # faster than sum
        counted, kept = sums.tolist()
        total = self._quick_values[self._quick_dropped[depth][node]] + counted
        shares = self._float_shares[depth + 1].take(codes)
        return _Followers(total, kept, level.tokens[start:stop].astype(np.intp), shares)

    # ------------------------------------------------------------------------------------ no context

    def token_frequencies(self) -> Float64Array:
        """How often each token is written, ``(V,)``: all above 0, their sum 1.

        The unigrams do not say it: below the highest order a token counts once for each token before it, so what
        always follows the same token ("She" after a period) seems rare. Older models, which do not store occurrences,
        have nothing better.
        """
        occurrences = self.trie.occurrences
        if occurrences is None:
            unigrams = self._unigrams.astype(np.float64)
            return np.asarray(unigrams / unigrams.sum())
        seen = VALUES[occurrences] + 0.5  # more than nothing for what was not seen
        return np.asarray(seen / seen.sum())

    @cached_property
    def _has_many_documents(self) -> bool:
        occurrences = self.trie.occurrences
        return occurrences is not None and bool(VALUES[occurrences[DOCUMENT_END]] >= MANY_DOCUMENTS)

    @cached_property
    def _batched(self) -> BatchedLookup:
        from gru_complete.ngrams.batched import BatchedLookup  # here, since many completions look up few contexts

        return BatchedLookup(self.trie, self._shares, self._unigram_backoff)

    @cached_property
    def _unigrams(self) -> Float32Array:
        """The distribution after nothing, ``(V,)``."""
        weight, total = self._unigram_backoff
        shares = self._shares[0][self._levels[0].counts] / max(total, 1)
        row: Float32Array = (shares + weight / self.vocab_size).astype(np.float32)
        return row

    @cached_property
    def _unigram_backoff(self) -> tuple[float, float]:
        """The weight of the uniform distribution, and how much was counted in all."""
        counts = self._levels[0].counts
        total = float(VALUES[counts].sum())
        return (1 - float(self._shares[0][counts].sum()) / total if total else 1.0), total

    # ------------------------------------------------------------------------------------ many contexts

    def distributions_and_evidence(self, contexts: Sequence[Context]) -> tuple[Float32Array, EvidenceArrays]:
        """``distribution_and_evidence`` of some dozens of contexts, at least one: ``(N, V)`` and N.

        It sums up the followers of just these contexts; ``distributions``, which is for thousands, first makes a table
        of the sums of all contexts.
        """
        if len(contexts) < _MIN_BATCH:
            one_by_one = [self.distribution_and_evidence(context) for context in contexts]
        else:
            one_by_one = [self._after_one(context[0] if context else -1) for context in contexts]
        rows: Float32Array = np.concatenate([row for row, _ in one_by_one]).reshape(len(contexts), -1)
        evidence = EvidenceArrays.from_evidence([known for _, known in one_by_one])
        if len(contexts) < _MIN_BATCH:
            return rows, evidence
        self._add_longer_contexts(contexts, rows, evidence)
        for row, context in enumerate(contexts):
            if CUT_OFF in context:
                rows[row], known = self._cut_off_distribution(context)
                evidence.lengths[row], evidence.totals[row], evidence.num_followers[row] = known
        return rows, evidence

    def _add_longer_contexts(self, contexts: Sequence[Context], rows: Float32Array, evidence: EvidenceArrays) -> None:
        """Turn the distributions ``(N, V)`` and the evidence after one token into those of the whole contexts."""
        weights = np.ones(len(contexts))
        levels = self._batched.level_terms(np.array(contexts, np.intp), weights, self._batched.summed, min_depth=1)
        rows *= weights.astype(np.float32)[:, None]
        for level in levels:
            rows.reshape(-1)[level.places] += level.terms
        for level in reversed(levels):  # so that the longest context has the last word
            evidence.lengths[level.rows] = level.length
            evidence.totals[level.rows] = level.totals
            evidence.num_followers[level.rows] = level.sizes

    def evidence_of_many(self, contexts: IntArray) -> EvidenceArrays:
        """``evidence`` of many contexts ``(N, order - 1)``, none of which is cut off."""
        return self._batched.evidence(contexts)

    def distributions(self, contexts: IntArray) -> Float32Array:
        """The distribution in each of many contexts ``(N, order - 1)``: ``(N, V)``."""
        weights = np.ones(len(contexts), np.float32)
        levels = self._batched.level_terms(contexts, weights, self._batched.tabulated, min_depth=0)
        rows: Float32Array = weights[:, None] * self._unigrams
        for level in levels:
            rows.reshape(-1)[level.places] += level.terms
        return rows

    # ------------------------------------------------------------------------------------ a stream of tokens

    def contexts(self, stream: TokenIds, start: Context | None = None) -> IntArray:
        """The context after each token of a stream, ``(N, order - 1)``.

        Args:
            stream: token ids, ``(N,)``.
            start: the context before the first token; the empty one, if omitted.
        """
        return self._batched.walk(stream, self.empty_context() if start is None else start)[1]

    def score_stream(self, stream: TokenIds, start: Context | None = None) -> StreamScores:
        """Score every token of a stream but the first, each after those before it.

        Args:
            stream: token ids, ``(N,)``.
            start: the context before the first token; the empty one, if omitted.
        """
        num_targets = max(0, len(stream) - 1)
        scores = StreamScores(
            np.empty(num_targets, np.float32),
            np.empty(num_targets, np.int8),
            np.empty(num_targets, np.float32),
            np.empty(num_targets, np.int32),
        )
        context = self.empty_context() if start is None else start
        for begin in range(0, num_targets, BLOCK_TOKENS):
            block = stream[begin : begin + BLOCK_TOKENS + 1]
            entries, contexts = self._batched.walk(block, context)
            self._batched.score_block(scores, slice(begin, begin + len(block) - 1), contexts[:-1], entries[1:])
            context = tuple(contexts[-2].tolist())
        return scores
