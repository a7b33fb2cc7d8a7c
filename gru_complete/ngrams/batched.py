"""The n-gram model's formula for many contexts or tokens side by side; see ``counts`` for the formula.

Shapes: V vocab_size, N contexts side by side or tokens of a stream, C n-grams of one level of the trie.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.arrays import Float32Array, Float64Array, FloatArray, IntArray
from gru_complete.ngrams.evidence import Context, EvidenceArrays, StreamScores
from gru_complete.ngrams.trie import MIN_WEIGHT, VALUES, Trie
from gru_complete.text.tokenizer import DOCUMENT_END

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gru_complete.arrays import TokenIds

# Far below what counts: it keeps a probability from becoming 0 by underflow.
_MIN_PROBABILITY = np.float32(1e-30)


class _BatchFollowers(NamedTuple):
    """The stored followers of those of N contexts that have any, side by side: R contexts, F followers together.

    Attributes:
        rows: which of the N contexts, ``(R,)``.
        nodes: their nodes, ``(R,)``.
        sizes: how many followers each has, ``(R,)``.
        begins: where among all F followers those of each begin, ``(R,)``.
        tokens: the followers, ``(F,)``.
        codes: the codes of their counts, ``(F,)``.
    """

    rows: IntArray
    nodes: IntArray
    sizes: IntArray
    begins: IntArray
    tokens: IntArray
    codes: NDArray[np.uint8]


class LevelTerms(NamedTuple):
    """What the contexts of one length add to N distributions of V tokens: R contexts, F followers together.

    Attributes:
        length: of the contexts, in tokens.
        rows: which of the N contexts, ``(R,)``.
        totals: c(h) of each, ``(R,)``.
        sizes: how many followers each has, ``(R,)``.
        places: where each follower's probability lies in the flattened distributions, ``(F,)``.
        terms: what is to be added there, ``(F,)``.
    """

    length: int
    rows: IntArray
    totals: FloatArray
    sizes: IntArray
    places: IntArray
    terms: Float32Array


_BatchSums = Callable[[int, _BatchFollowers], tuple[FloatArray, FloatArray]]
"""From a depth and followers to c(h) and b(h) of their contexts, ``(R,)`` each."""


class BatchedLookup:
    """Looks up many contexts or tokens at once.

    Args:
        trie: the n-grams.
        shares: by order and code, a count less its discount, ``(order, 256)``.
        unigram_backoff: the weight of the uniform distribution below the unigrams, and c(h) of nothing.
    """

    def __init__(self, trie: Trie, shares: Float64Array, unigram_backoff: tuple[float, float]) -> None:
        self.order = len(trie.levels)
        self.vocab_size = len(trie.levels[0].counts)
        self._levels = trie.levels
        self._first = [level.first for level in trie.levels[:-1]]
        self._shares = shares
        self._float_shares = shares.astype(np.float32)
        self._unigram_backoff = unigram_backoff

    def level_terms(
        self, contexts: IntArray, weights: FloatArray, sums: _BatchSums, *, min_depth: int
    ) -> list[LevelTerms]:
        """What the contexts of each length add to the distributions, the longest first.

        Args:
            contexts: ``(N, order - 1)``.
            weights: ones, ``(N,)``; left with what all these contexts leave to the shorter ones.
            sums: gives c(h) and b(h).
            min_depth: the shortest contexts that are added have one token more.
        """
        levels = []
        for depth in range(self.order - 2, min_depth - 1, -1):
            followers = self._batch_followers(depth, contexts[:, depth])
            if followers is None:
                continue
            rows, sizes = followers.rows, followers.sizes
            totals, backoffs = sums(depth, followers)
            terms = self._float_shares[depth + 1].take(followers.codes)
            terms *= (weights[rows] / totals).astype(np.float32, copy=False).repeat(sizes)
            places: IntArray = (rows * self.vocab_size).repeat(sizes)
            places += followers.tokens
            levels.append(LevelTerms(depth + 1, rows, totals, sizes, places, terms))
            weights[rows] = np.maximum(weights[rows] * backoffs, MIN_WEIGHT)
        return levels

    def _batch_followers(self, depth: int, nodes: IntArray) -> _BatchFollowers | None:
        """Gather the followers of nodes ``(N,)`` of one level, -1 for none; None if there is no follower at all."""
        rows = (nodes >= 0).nonzero()[0]
        used = nodes[rows]
        starts = self._first[depth][used]
        sizes = self._first[depth][used + 1] - starts
        if not sizes.all():
            has_any = sizes.nonzero()[0]
            rows, used, starts, sizes = rows[has_any], used[has_any], starts[has_any], sizes[has_any]
        if not len(rows):
            return None
        ends = sizes.cumsum()
        begins = ends - sizes
        index = np.arange(ends[-1])
        index += (starts - begins).repeat(sizes)
        level = self._levels[depth + 1]
        return _BatchFollowers(rows, used, sizes, begins, level.tokens.take(index), level.counts.take(index))

    def summed(self, depth: int, followers: _BatchFollowers) -> tuple[Float64Array, Float64Array]:
        """c(h) and b(h), added up from these followers."""
        _, nodes, _, begins, _, codes = followers
        totals = np.add.reduceat(VALUES.take(codes), begins) + VALUES.take(self._levels[depth].dropped[nodes])
        kept = np.add.reduceat(self._shares[depth + 1].take(codes), begins)
        return totals, 1 - kept / totals

    def tabulated(self, depth: int, followers: _BatchFollowers) -> tuple[Float32Array, Float32Array]:
        """c(h) and b(h), looked up in the table of all contexts."""
        backoffs, totals = self._backoff[depth]
        return totals[followers.nodes], backoffs[followers.nodes]

    @cached_property
    def _backoff(self) -> list[tuple[Float32Array, Float32Array]]:
        """For each level but the last, b(h) and c(h) of every context, ``(C,)``; 1 where it has no follower."""
        result = []
        for depth, first in enumerate(self._first):
            codes = self._levels[depth + 1].counts
            counted = np.concatenate(([0], np.cumsum(VALUES[codes])))
            shares = np.concatenate(([0], np.cumsum(self._shares[depth + 1][codes])))
            totals = counted[first[1:]] - counted[first[:-1]] + VALUES[self._levels[depth].dropped]
            kept = shares[first[1:]] - shares[first[:-1]]
            totals = np.where(first[1:] > first[:-1], totals, 1)
            result.append(((1 - kept / totals).astype(np.float32), totals.astype(np.float32)))
        return result

    def evidence(self, contexts: IntArray) -> EvidenceArrays:
        """How well many contexts ``(N, order - 1)`` are known."""
        lengths = np.zeros(len(contexts), np.int8)
        totals = np.full(len(contexts), self._unigram_backoff[1], np.float32)
        num_followers = np.full(len(contexts), self.vocab_size, np.int32)
        for depth, first in enumerate(self._first):
            nodes = contexts[:, depth]
            rows = np.flatnonzero(nodes >= 0)
            sizes = first[nodes[rows] + 1] - first[nodes[rows]]
            rows, sizes = rows[sizes > 0], sizes[sizes > 0]
            lengths[rows], num_followers[rows] = depth + 1, sizes
            totals[rows] = self._backoff[depth][1][nodes[rows]]
        return EvidenceArrays(lengths, totals, num_followers)

    def score_block(self, scores: StreamScores, block: slice, contexts: IntArray, entries: IntArray) -> None:
        """Fill in a block of ``scores``, from the uniform distribution up to the longest contexts.

        Args:
            scores: of the whole stream.
            block: the part of it to fill in, M targets.
            contexts: of the targets, ``(M, order - 1)``.
            entries: the targets as n-grams of 1, 2, ... order tokens, ``(M, order)``, -1 where one is not stored.
        """
        num_targets = len(entries)
        probabilities: Float64Array = np.full(num_targets, 1 / self.vocab_size)
        for depth in range(self.order):
            weight: NDArray[Any]
            total: NDArray[Any]
            if depth and not len(self._levels[depth - 1].counts):
                break  # no context is as long as that
            if depth:
                node = contexts[:, depth - 1]
                weight, total = (part[node] for part in self._backoff[depth - 1])
                num_followers = np.where(node >= 0, np.diff(self._first[depth - 1])[node], 0)
            else:
                weight, total = (np.full(num_targets, part) for part in self._unigram_backoff)
                num_followers = np.full(num_targets, self.vocab_size)
            entry = entries[:, depth]
            share = np.where(entry >= 0, self._shares[depth][self._codes(depth, entry)], 0)
            spare = np.maximum(weight * total, 0)  # the shorter context's part
            is_known = (num_followers > 0) & (total > 0)
            scale = 1 / np.where(is_known, total, 1)
            probabilities = np.where(is_known, (share + spare * probabilities) * scale, probabilities)
            if not depth:
                scores.lengths[block], scores.totals[block], scores.num_followers[block] = 0, total, self.vocab_size
            else:
                scores.lengths[block][is_known] = depth
                scores.totals[block][is_known] = total[is_known]
                scores.num_followers[block][is_known] = num_followers[is_known]
        scores.probabilities[block] = np.maximum(probabilities, _MIN_PROBABILITY)

    def _codes(self, depth: int, entry: IntArray) -> NDArray[np.uint8]:
        """The codes of the counts of n-grams; anything for -1."""
        codes = self._levels[depth].counts
        return codes[entry] if len(codes) else np.zeros(len(entry), np.uint8)

    def walk(self, stream: TokenIds, start: Context) -> tuple[IntArray, IntArray]:
        """The n-grams that end with each token, ``(N, order)``, and the context after it, ``(N, order - 1)``."""
        tokens = np.asarray(stream, np.int64)
        ends = tokens == DOCUMENT_END
        entries = np.full((len(tokens), self.order), -1, np.int32)
        entries[:, 0] = tokens
        contexts = entries[:, :-1].copy()
        for depth in range(self.order - 1):
            parents = np.concatenate(([start[depth]], contexts[:-1, depth]))[: len(tokens)]
            used = np.flatnonzero(parents >= 0)
            entries[used, depth + 1] = self._find_children(depth, parents[used], tokens[used])
            if depth + 1 < self.order - 1:
                contexts[:, depth + 1] = np.where(ends, -1, entries[:, depth + 1])
        return entries, contexts

    def _find_children(self, depth: int, nodes: IntArray, tokens: IntArray) -> IntArray:
        """The children of nodes by these tokens, -1 where there is none: one binary search, in all at once."""
        all_tokens = self._levels[depth + 1].tokens
        if not len(all_tokens):
            return np.full(len(nodes), -1)
        low, stop = self._first[depth][nodes], self._first[depth][nodes + 1]
        high = stop.copy()
        last = len(all_tokens) - 1
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) // 2
            right = (all_tokens[np.minimum(middle, last)] < tokens) & (low < high)
            low = np.where(right, middle + 1, low)
            high = np.where(right, high, middle)
        is_child = (low < stop) & (all_tokens[np.minimum(low, last)] == tokens)
        return np.where(is_child, low, -1)
