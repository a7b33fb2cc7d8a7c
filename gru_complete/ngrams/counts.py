"""The n-gram memory: what followed each context of a few tokens, and how often.

The estimate is interpolated Kneser-Ney with three discounts per order (Chen and Goodman 1998, TR-10-98, section 3)::

    P_k(w | h) = (c(h w) - D_k(c)) / c(h) + (1 - sum of the first terms over w) P_{k-1}(w | h without its first token)

where c counts occurrences at the highest order, and below it the different tokens seen before ``h w``. Below the
unigrams lies the uniform distribution. A context never reaches back beyond a document end, which itself may be its
first token; what starts with a document end has nothing before it and is counted by its occurrences at every order.

N-grams form a trie. Level k has those of k tokens, sorted by (the first k - 1 tokens, the last token), so the
followers of a context lie side by side; level 1 has all V tokens. A *node* is the index of an n-gram in its level.
A context is the tuple of nodes for its last 1, 2, ... order - 1 tokens, -1 where that n-gram is not stored.

Shapes: V vocab_size, N tokens of a stream.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gru_complete.arrays import Float32Array, IntArray, token_dtype
from gru_complete.errors import ModelError
from gru_complete.text.tokenizer import DOCUMENT_END

if TYPE_CHECKING:  # `complete` imports this module, and has no use for shards
    from gru_complete.arrays import TokenIds, token_dtype

MAX_ORDER = 8
DEFAULT_ORDER = 5

Context = tuple[int, ...]
"""A context as the nodes of its last 1, 2, ... order - 1 tokens, -1 where that n-gram is not stored."""


class Evidence(NamedTuple):
    """How well a context is known.

    Attributes:
        length: tokens in the longest end of the context that has followers, 0 for none.
        total: what was counted after it.
        num_followers: how many different tokens followed it.
    """

    length: int
    total: float
    num_followers: int


class EvidenceArrays(NamedTuple):
    """The evidence of N contexts, ``(N,)`` each; see ``Evidence``."""

    lengths: NDArray[Any]
    totals: NDArray[Any]
    num_followers: NDArray[Any]

    @classmethod
    def from_evidence(cls, evidence: Sequence[Evidence]) -> EvidenceArrays:
        """Stack the evidence of at least one context."""
        return cls(*map(np.array, zip(*evidence, strict=True)))


_MAX_ENTRIES = 1 << 28
_MIN_LOG_PROBABILITY, _MIN_WEIGHT = (
    np.float32(1e-30),
    1e-18,
)  # far below what counts: no probability becomes 0 by underflow
_MIN_DISCOUNT = 0.01
_CACHED_BYTES = 4 << 20  # for distributions after one token: where V = 2048, most texts' 512 most frequent tokens
_CACHED_FOLLOWERS = 4096
_FEW = 6
_SIDE_BY_SIDE = 12  # so many contexts are looked up together sooner than one by one
_EXACT_COUNTS = 128
_GROWTH = 1.09
_CODES = np.arange(256)
# A count is one byte: itself up to 128, then in steps of 9 % up to millions.
_VALUES: NDArray[np.float64] = np.where(
    _CODES <= _EXACT_COUNTS, _CODES, np.round(_EXACT_COUNTS * _GROWTH ** np.maximum(0.0, _CODES - _EXACT_COUNTS))
)


PIECE_TOKENS = 1 << 17


class StreamScores(NamedTuple):
    """What the counts say of the tokens of a stream, each after those before it.

    Attributes:
        probabilities: of each token but the first, ``(N - 1,)``.
        lengths: tokens in the longest context that has followers, 0 for none, ``(N - 1,)``.
        totals: what was counted after that context, ``(N - 1,)``.
        num_followers: how many different tokens are stored for it, ``(N - 1,)``.
    """

    probabilities: Float32Array
    lengths: NDArray[np.int8]
    totals: Float32Array
    num_followers: NDArray[np.int32]

    @property
    def evidence(self) -> EvidenceArrays:
        """How well the context of each token is known."""
        return EvidenceArrays(self.lengths, self.totals, self.num_followers)


class _Level(NamedTuple):
    """The n-grams of one length, sorted.

    Attributes:
        tokens: the last token of each; at level 1, all of them.
        counts: codes of ``_VALUES``.
        first: at all levels but the last, where the n-grams that continue each begin in the next level, and where the
            last of all ends, ``(n + 1,)``.
        dropped: likewise, the code of the count of those that were dropped, ``(n,)``.
    """

    tokens: NDArray[np.unsignedinteger[Any]]
    counts: NDArray[np.uint8]
    first: NDArray[np.int32]
    dropped: NDArray[np.uint8]


class _Followers(NamedTuple):
    """What followed a context.

    Attributes:
        total: their counts together, the dropped ones' included.
        kept: their discounted counts together.
        tokens: which they are.
        counts: the discounted count of each.
    """

    total: float
    kept: float
    tokens: IntArray
    counts: Float32Array


class NGrams:
    """Counts of contexts and their followers, and the probabilities they give.

    Attributes:
        vocab_size: V.
        order: tokens in the longest n-gram; contexts have up to one less.
    """

    def __init__(
        self, levels: Sequence[_Level], discounts: Float32Array, occurrences: NDArray[np.uint8] | None = None
    ) -> None:
        """Take over arrays that ``count_ngrams`` made or ``from_arrays`` checked.

        Args:
            levels: of n-grams of 1, 2, ... order tokens.
            discounts: what is taken from counts of 1, 2, and 3 or more, ``(order, 3)``.
            occurrences: how often each token was seen, ``(V,)``, codes of ``_VALUES``; None where that was not stored.
        """
        self._occurrences = occurrences
        self.order = len(levels)
        self.vocab_size = len(levels[0].counts)
        self._levels = levels
        self._discounts = discounts
        self._first = [level.first for level in levels[:-1]]
        taken = np.minimum(discounts[:, np.clip(_CODES, 1, 3) - 1], _VALUES)
        self._shares = _VALUES - taken  # (order, 256): by code, a count less its discount
        # Python reads single numbers from these several times faster than from arrays.
        self._quick_first = [first.data for first in self._first]
        self._quick_tokens = [level.tokens.data for level in levels]
        self._quick_dropped = [level.dropped.data for level in levels[:-1]]
        self._quick_counts = [level.counts.data for level in levels]
        self._quick_shares = self._shares.tolist()
        self._quick_values = _VALUES.tolist()
        self._table = np.stack([np.broadcast_to(_VALUES, self._shares.shape), self._shares], axis=-1)
        self._ones = np.ones(self.vocab_size)
        self._after_one = lru_cache(max(64, _CACHED_BYTES // (4 * self.vocab_size)))(self._distribution_after_one)
        self._followers = lru_cache(_CACHED_FOLLOWERS)(self._stored_followers)
        self._float_shares = self._shares.astype(np.float32)

    # ------------------------------------------------------------------------------------ one context

    def empty_context(self) -> Context:
        """The context in which nothing has been read."""
        return (-1,) * (self.order - 1)

    def advance(self, nodes: Context, token: int) -> Context:
        """The context after one more token."""
        if self.order == 1:
            return ()
        if token == DOCUMENT_END:
            return (token,) + (-1,) * (self.order - 2)
        following = [token]
        for depth, node in enumerate(nodes[:-1]):
            child = -1
            if node >= 0:
                first, tokens = self._quick_first[depth], self._quick_tokens[depth + 1]
                stop = first[node + 1]
                at = bisect_left(tokens, token, first[node], stop)
                if at < stop and tokens[at] == token:
                    child = at
            following.append(child)
        return tuple(following)

    def evidence(self, nodes: Context) -> Evidence:
        """The longest context that has followers."""
        for depth in reversed(range(self.order - 1)):
            node = nodes[depth]
            if node >= 0:
                start, stop = self._quick_first[depth][node], self._quick_first[depth][node + 1]
                if start < stop:
                    return Evidence(depth + 1, self._followers(depth, node, start, stop).total, stop - start)
        return Evidence(0, self._unigram_backoff[1], self.vocab_size)

    def distribution(self, nodes: Context) -> Float32Array:
        """Probability of each token in a context, ``(V,)``: all above 0, their sum 1; the caller's to change."""
        return self.distribution_and_evidence(nodes)[0]

    def distribution_and_evidence(self, nodes: Context) -> tuple[Float32Array, Evidence]:
        """What ``distribution`` and ``context`` say, quicker than both."""
        weight = 1.0
        few: list[tuple[list[int], list[float], float]] = []
        many: list[tuple[IntArray, Float32Array, float]] = []
        longest: Evidence | None = None
        for depth in range(self.order - 2, 0, -1):
            node = nodes[depth]
            if node < 0:
                continue
            first = self._quick_first[depth]
            start, stop = first[node], first[node + 1]
            if start < stop:
                if stop - start <= _FEW:
                    total, kept, tokens, shares = self._few_followers(depth, node, start, stop)
                    few.append((tokens, shares, weight / total))
                else:
                    total, kept, indices, counts = self._followers(depth, node, start, stop)
                    many.append((indices, counts, weight / total))
                longest = longest or Evidence(depth + 1, total, stop - start)
                weight = max(weight * (1 - kept / total), _MIN_WEIGHT)
        after_one, context = self._after_one(nodes[0] if nodes else -1)
        row: Float32Array = after_one * weight
        for indices, counts, scale in many:
            row[indices] += counts * scale
        for tokens, shares, scale in few:
            for token, share in zip(tokens, shares, strict=True):
                row[token] += share * scale
        return row, longest or context

    def _distribution_after_one(self, node: int) -> tuple[Float32Array, Evidence]:
        """The distribution and the context after one token or none, for all that is asked to start from."""
        start, stop = (self._quick_first[0][node], self._quick_first[0][node + 1]) if node >= 0 else (0, 0)
        if start == stop:
            return self._unigrams, Evidence(0, self._unigram_backoff[1], self.vocab_size)
        total, kept, tokens, counts = self._stored_followers(0, node, start, stop)
        row: Float32Array = self._unigrams * max(1 - kept / total, _MIN_WEIGHT)
        row[tokens] += counts * (1 / total)
        return row, Evidence(1, total, stop - start)

    def _few_followers(
        self, depth: int, node: int, start: int, stop: int
    ) -> tuple[float, float, list[int], list[float]]:
        """``_stored_followers`` in Python, which has looked at a few before numpy has started."""
        total, kept = self._quick_values[self._quick_dropped[depth][node]], 0.0
        values, shares, counts = self._quick_values, self._quick_shares[depth + 1], []
        for code in self._quick_counts[depth + 1][start:stop]:
            total += values[code]
            kept += shares[code]
            counts.append(shares[code])
        return total, kept, self._quick_tokens[depth + 1][start:stop].tolist(), counts

    def _stored_followers(self, depth: int, node: int, start: int, stop: int) -> _Followers:
        """Those of a node, from where in the next level they stand."""
        level = self._levels[depth + 1]
        codes = level.counts[start:stop]
        sums = self._ones[: stop - start].dot(self._table[depth + 1].take(codes, axis=0))  # quicker than sum
        counted, kept = sums.tolist()
        total = self._quick_values[self._quick_dropped[depth][node]] + counted
        counts = self._float_shares[depth + 1].take(codes)
        return _Followers(total, kept, level.tokens[start:stop].astype(np.intp), counts)

    @cached_property
    def _unigrams(self) -> Float32Array:
        """The distribution after nothing."""
        weight, total = self._unigram_backoff
        shares = self._shares[0][self._levels[0].counts] / max(total, 1)
        row: Float32Array = (shares + weight / self.vocab_size).astype(np.float32)
        return row

    def token_frequencies(self) -> NDArray[np.float64]:
        """How often each token is written, ``(V,)``: all above 0, their sum 1.

        The unigrams do not say it: below the highest order a token counts once for each token before it, so what
        always follows the same ("She" after a period) seems rare. Of counts that were stored without occurrences
        they are all there is.
        """
        if self._occurrences is None:
            unigrams = self._unigrams.astype(np.float64)
            return np.asarray(unigrams / unigrams.sum())
        seen = _VALUES[self._occurrences] + 0.5  # more than nothing for what was not seen
        return np.asarray(seen / seen.sum())

    # ------------------------------------------------------------------------------------ many contexts

    def contexts(self, stream: TokenIds, start: Context | None = None) -> IntArray:
        """The context after each token of a stream, ``(N, order - 1)``."""
        return self._walk(stream, self.empty_context() if start is None else start)[1]

    def distributions_and_evidence(self, nodes: Sequence[Context]) -> tuple[Float32Array, list[Evidence]]:
        """``distribution_and_evidence`` in each of some contexts, at least one: ``(N, V)`` and N.

        It is for some dozens: ``distributions`` is for thousands, and begins with a pass over all counts.
        """
        if len(nodes) < _SIDE_BY_SIDE:
            found = [self.distribution_and_evidence(node) for node in nodes]
            return np.concatenate([row for row, _ in found]).reshape(len(nodes), -1), [context for _, context in found]
        weights = np.ones(len(nodes))
        parts: list[tuple[IntArray, Float32Array]] = []
        longest: list[Evidence | None] = [None] * len(nodes)
        table: NDArray[np.signedinteger[Any]] = np.array(nodes, np.intp)
        for depth in range(self.order - 2, 0, -1):
            rows = (table[:, depth] >= 0).nonzero()[0]
            node = table[rows, depth]
            starts = self._first[depth][node]
            sizes = self._first[depth][node + 1] - starts
            if not sizes.all():
                known = sizes.nonzero()[0]
                rows, node, starts, sizes = rows[known], node[known], starts[known], sizes[known]
            if not len(rows):
                continue
            level, ends = self._levels[depth + 1], sizes.cumsum()
            begins = ends - sizes
            index = np.arange(ends[-1])
            index += (starts - begins).repeat(sizes)
            codes = level.counts.take(index)
            totals = np.add.reduceat(_VALUES.take(codes), begins) + _VALUES.take(self._levels[depth].dropped[node])
            kept = np.add.reduceat(self._shares[depth + 1].take(codes), begins)
            shares = self._float_shares[depth + 1].take(codes)
            scales: Float32Array = (weights[rows] / totals).astype(np.float32)
            shares *= scales.repeat(sizes)
            places: IntArray = (rows * self.vocab_size).repeat(sizes)
            places += level.tokens.take(index)
            parts.append((places, shares))
            weights[rows] = np.maximum(weights[rows] * (1 - kept / totals), _MIN_WEIGHT)
            for row, total, size in zip(rows.tolist(), totals.tolist(), sizes.tolist(), strict=True):
                longest[row] = longest[row] or Evidence(depth + 1, total, size)
        after_one = [self._after_one(node[0] if node else -1) for node in nodes]
        result = np.concatenate([row for row, _ in after_one]).reshape(len(nodes), -1)
        result *= weights.astype(np.float32)[:, None]
        flat = result.reshape(-1)
        for places, shares in parts:
            flat[places] += shares
        return result, [known or context for known, (_, context) in zip(longest, after_one, strict=True)]

    def distributions(self, nodes: IntArray) -> Float32Array:
        """The distribution in each of some contexts ``(N, order - 1)``: ``(N, V)``."""
        scale = np.ones(len(nodes), np.float32)  # what the longer contexts leave to the shorter ones
        parts: list[tuple[IntArray, Float32Array]] = []
        for depth in reversed(range(self.order - 1)):
            weight, totals = self._backoff[depth]
            first, level = self._first[depth], self._levels[depth + 1]
            used = np.flatnonzero(nodes[:, depth] >= 0)
            node = nodes[used, depth]
            sizes = first[node + 1] - first[node]
            ends = np.cumsum(sizes)
            index = np.arange(sizes.sum()) + np.repeat(first[node] - ends + sizes, sizes)
            shares = self._float_shares[depth + 1][level.counts[index]]
            shares *= np.repeat(scale[used] / totals[node], sizes)
            parts.append((np.repeat(used * self.vocab_size, sizes) + level.tokens[index], shares))
            scale[used] = np.maximum(scale[used] * weight[node], _MIN_WEIGHT)
        rows: Float32Array = scale[:, None] * self._unigrams
        for place, shares in parts:
            rows.reshape(-1)[place] += shares
        return rows

    def score_stream(self, stream: TokenIds, start: Context | None = None) -> StreamScores:
        """Score every token of a stream but the first, each after those before it.

        Args:
            stream: token ids, ``(N,)``.
            start: the context before the first token; nothing, if omitted.
        """
        num_targets = max(0, len(stream) - 1)
        reading = StreamScores(
            np.empty(num_targets, np.float32),
            np.empty(num_targets, np.int8),
            np.empty(num_targets, np.float32),
            np.empty(num_targets, np.int32),
        )
        context = self.empty_context() if start is None else start
        for begin in range(0, num_targets, PIECE_TOKENS):
            piece = stream[begin : begin + PIECE_TOKENS + 1]
            entries, contexts = self._walk(piece, context)
            self._score(reading, slice(begin, begin + len(piece) - 1), contexts[:-1], entries[1:])
            context = tuple(contexts[-2].tolist())
        return reading

    def total_nats(self, tokens: TokenIds, *, chunk_len: int = 1 << 16) -> float:
        """What a stream costs, in nats: all its tokens but the first; long streams are read in chunks."""
        total, context = 0.0, self.empty_context()
        for start in range(0, len(tokens) - 1, chunk_len):
            chunk = np.asarray(tokens[start : start + chunk_len + 1])
            total -= float(np.log(self.score_stream(chunk, context).probabilities, dtype=np.float64).sum())
            context = tuple(self.contexts(chunk[:-1], context)[-1].tolist())
        return total

    def _score(self, reading: StreamScores, here: slice, contexts: IntArray, entries: IntArray) -> None:
        """Score targets, given as n-grams ``entries`` (M, order) in their contexts, into a part of ``reading``."""
        num_targets = len(entries)
        probabilities: NDArray[np.float64] = np.full(num_targets, 1 / self.vocab_size)
        for depth in range(self.order):
            weight: NDArray[Any]
            total: NDArray[Any]
            if depth:
                node = contexts[:, depth - 1]
                weight, total = (part[node] for part in self._backoff[depth - 1])
                children = np.where(node >= 0, np.diff(self._first[depth - 1])[node], 0)
            else:
                weight, total = (np.full(num_targets, part) for part in self._unigram_backoff)
                children = np.full(num_targets, self.vocab_size)
            entry = entries[:, depth]
            share = np.where(entry >= 0, self._shares[depth][self._codes(depth, entry)], 0)
            spare = np.maximum(weight * total, 0)  # the shorter context's part
            found = (children > 0) & (total > 0)
            scale = 1 / np.where(found, total, 1)
            probabilities = np.where(found, (share + spare * probabilities) * scale, probabilities)
            if not depth:
                reading.lengths[here], reading.totals[here], reading.num_followers[here] = 0, total, self.vocab_size
            else:
                reading.lengths[here][found] = depth
                reading.totals[here][found] = total[found]
                reading.num_followers[here][found] = children[found]
        reading.probabilities[here] = np.maximum(probabilities, _MIN_LOG_PROBABILITY)

    @cached_property
    def _backoff(self) -> list[tuple[Float32Array, Float32Array]]:
        """For each level but the last: the weight of the shorter context (1 if there is no follower) and the total."""
        result = []
        for depth, first in enumerate(self._first):
            codes = self._levels[depth + 1].counts
            counted = np.concatenate(([0], np.cumsum(_VALUES[codes])))
            shares = np.concatenate(([0], np.cumsum(self._shares[depth + 1][codes])))
            totals = counted[first[1:]] - counted[first[:-1]] + _VALUES[self._levels[depth].dropped]
            kept = shares[first[1:]] - shares[first[:-1]]
            totals = np.where(first[1:] > first[:-1], totals, 1)
            result.append(((1 - kept / totals).astype(np.float32), totals.astype(np.float32)))
        return result

    @cached_property
    def _unigram_backoff(self) -> tuple[float, float]:
        """The weight of the uniform distribution, and how much was counted in all."""
        counts = self._levels[0].counts
        total = float(_VALUES[counts].sum())
        return (1 - float(self._shares[0][counts].sum()) / total if total else 1.0), total

    def _codes(self, depth: int, entry: IntArray) -> NDArray[np.uint8]:
        """The counts of n-grams; anything for -1."""
        codes = self._levels[depth].counts
        return codes[entry] if len(codes) else np.zeros(len(entry), np.uint8)

    def _walk(self, stream: TokenIds, start: Context) -> tuple[IntArray, IntArray]:
        """The n-grams that end with each token, ``(N, order)``, and the context after it, ``(N, order - 1)``."""
        tokens = np.asarray(stream, np.int64)
        ends = tokens == DOCUMENT_END
        entries = np.full((len(tokens), self.order), -1, np.int32)
        entries[:, 0] = tokens
        contexts = entries[:, :-1].copy()
        for depth in range(self.order - 1):
            parents = np.concatenate(([start[depth]], contexts[:-1, depth]))[: len(tokens)]
            used = np.flatnonzero(parents >= 0)
            entries[used, depth + 1] = self._find(depth, parents[used], tokens[used])
            if depth + 1 < self.order - 1:
                contexts[:, depth + 1] = np.where(ends, -1, entries[:, depth + 1])
        return entries, contexts

    def _find(self, depth: int, nodes: IntArray, tokens: IntArray) -> IntArray:
        """The children of nodes by these tokens, -1 where there is none: a binary search in all at once."""
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
        found = (low < stop) & (all_tokens[np.minimum(low, last)] == tokens)
        return np.where(found, low, -1)

    # ------------------------------------------------------------------------------------ on disk

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All there is to store, by name; ``from_arrays`` takes it back."""
        arrays: dict[str, NDArray[Any]] = {"discounts": self._discounts}
        if self._occurrences is not None:
            arrays["occurrences"] = self._occurrences
        for number, level in enumerate(self._levels, start=1):
            arrays[f"counts.{number}"] = level.counts
            if number > 1:
                arrays[f"tokens.{number}"] = level.tokens
            if number < self.order:
                sizes = np.diff(level.first)
                arrays[f"children.{number}"] = sizes.astype(smallest_dtype(int(sizes.max(initial=0))))
                if level.dropped.any():
                    arrays[f"dropped.{number}"] = level.dropped
        return arrays

    @property
    def num_bytes(self) -> int:
        """Of the arrays that are stored."""
        return sum(array.nbytes for array in self.to_arrays().values())

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], vocab_size: int) -> NGrams:
        """Use arrays as they are, after checking all that reading them relies on; they may come from a stranger.

        Raises:
            ModelError: a name, shape, type or value is not what ``to_arrays`` gives.
        """
        discounts = arrays.get("discounts")
        if discounts is None or discounts.dtype != np.float32 or discounts.ndim != 2 or discounts.shape[1] != 3:
            raise ModelError("the n-gram memory has no discounts of three per order")
        order = len(discounts)
        if not 1 <= order <= MAX_ORDER:
            raise ModelError(f"the n-gram memory has the order {order}, not one from 1 to {MAX_ORDER}")
        if not bool(((discounts >= _MIN_DISCOUNT) & (discounts < [1, 2, 3])).all()):
            raise ModelError("the n-gram memory has a discount that is not between 0 and the count")
        rest = {name: array for name, array in arrays.items() if name != "discounts"}
        levels: list[_Level] = []
        size = vocab_size
        for number in range(1, order + 1):
            counts = _pop_checked(rest, f"counts.{number}", ("uint8",), size)
            if number > 1 and not counts.all():
                raise ModelError(f"counts.{number} of the n-gram memory has a zero")
            if number == 1:
                tokens: NDArray[Any] = np.arange(vocab_size, dtype=np.uint32)
            else:
                tokens = _pop_checked(rest, f"tokens.{number}", (token_dtype(vocab_size).name,), size)
                if not _ascending(tokens, levels[-1].first, vocab_size):
                    raise ModelError(f"tokens.{number} of the n-gram memory is not in order")
            first, dropped = np.zeros(0, np.int32), np.zeros(0, np.uint8)
            if number < order:
                children = _pop_checked(rest, f"children.{number}", ("uint8", "uint16", "uint32"), size)
                dropped = np.zeros(size, np.uint8)
                if f"dropped.{number}" in rest:
                    dropped = _pop_checked(rest, f"dropped.{number}", ("uint8",), size)
                size = int(children.sum(dtype=np.uint64))
                if size > _MAX_ENTRIES:
                    raise ModelError(f"the n-gram memory has {size} entries at level {number + 1}")
                first = _starts(children)
            levels.append(_Level(tokens, counts, first, dropped))
        occurrences = _pop_checked(rest, "occurrences", ("uint8",), vocab_size) if "occurrences" in rest else None
        if rest:
            raise ModelError(f"the n-gram memory has the unknown array {min(rest)[:60]!r}")
        return cls(levels, discounts, occurrences)


def _pop_checked(arrays: dict[str, NDArray[Any]], name: str, dtypes: Sequence[str], size: int) -> NDArray[Any]:
    """Take an array of this size out of those that are left."""
    array = arrays.pop(name, None)
    if array is None or array.dtype.name not in dtypes or array.shape != (size,):
        raise ModelError(f"the n-gram memory has no {name} of {size} {' or '.join(dtypes)}")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _starts(sizes: NDArray[Any]) -> NDArray[np.int32]:
    """Where each of some groups that lie side by side begins, and where the last one ends, ``(n + 1,)``."""
    starts = np.zeros(len(sizes) + 1, np.int32)
    starts[1:] = sizes  # faster than to let cumsum convert them
    return np.cumsum(starts, out=starts)


def _ascending(tokens: NDArray[Any], starts: NDArray[np.int32], vocab_size: int) -> bool:
    """Whether the tokens of each group are different ones below ``vocab_size`` in ascending order."""
    if not len(tokens):
        return True
    fine = np.ones(len(tokens) + 1, np.bool_)
    np.greater(tokens[1:], tokens[:-1], out=fine[1:-1])
    fine[starts] = True  # the first of a group may be anything
    return bool(fine.all()) and int(tokens.max()) < vocab_size


def smallest_dtype(largest: int) -> np.dtype[Any]:
    """The smallest type that holds numbers up to this one."""
    return np.dtype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32)
