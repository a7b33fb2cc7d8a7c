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

from gru_complete.errors import ModelError
from gru_complete.text.tokenizer import DOCUMENT_END

if TYPE_CHECKING:  # `complete` imports this module, and has no use for shards
    from gru_complete.text.shards import TokenIds

MAX_ORDER = 8
DEFAULT_ORDER = 5

Nodes = tuple[int, ...]
Context = tuple[int, float, int]
"""How well a context is known: its length in tokens, what was counted after it, how many different tokens followed."""
Floats = NDArray[np.float32]
Indices = NDArray[np.signedinteger[Any]]

_FAR_APART_TOKENS = 10_000
_PIECE_TOKENS = 1 << 17
_MAX_TOKENS = 1 << 24
_MAX_ENTRIES = 1 << 28
_LEAST, _LEAST_WEIGHT = np.float32(1e-30), 1e-18  # far below what counts: no probability becomes 0 by underflow
_LEAST_DISCOUNT = 0.01
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


class Reading(NamedTuple):
    """What the counts say of the tokens of a stream, each after those before it.

    Attributes:
        probabilities: of each token but the first, ``(N - 1,)``.
        lengths: tokens in the longest context that has followers, 0 for none, ``(N - 1,)``.
        totals: what was counted after that context, ``(N - 1,)``.
        num_followers: how many different tokens are stored for it, ``(N - 1,)``.
    """

    probabilities: Floats
    lengths: NDArray[np.int8]
    totals: Floats
    num_followers: NDArray[np.int32]


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
    tokens: Indices
    counts: Floats


class NGrams:
    """Counts of contexts and their followers, and the probabilities they give.

    Attributes:
        vocab_size: V.
        order: tokens in the longest n-gram; contexts have up to one less.
    """

    def __init__(
        self, levels: Sequence[_Level], discounts: Floats, occurrences: NDArray[np.uint8] | None = None
    ) -> None:
        """Take over arrays that ``build`` made or ``from_arrays`` checked.

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

    def start(self) -> Nodes:
        """The context in which nothing has been read."""
        return (-1,) * (self.order - 1)

    def advance(self, nodes: Nodes, token: int) -> Nodes:
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

    def context(self, nodes: Nodes) -> Context:
        """The longest context that has followers."""
        for depth in reversed(range(self.order - 1)):
            node = nodes[depth]
            if node >= 0:
                start, stop = self._quick_first[depth][node], self._quick_first[depth][node + 1]
                if start < stop:
                    return depth + 1, self._followers(depth, node, start, stop).total, stop - start
        return 0, self._unigram_backoff[1], self.vocab_size

    def distribution(self, nodes: Nodes) -> Floats:
        """Probability of each token in a context, ``(V,)``: all above 0, their sum 1; the caller's to change."""
        return self.distribution_and_context(nodes)[0]

    def distribution_and_context(self, nodes: Nodes) -> tuple[Floats, Context]:
        """What ``distribution`` and ``context`` say, quicker than both."""
        weight = 1.0
        few: list[tuple[list[int], list[float], float]] = []
        many: list[tuple[Indices, Floats, float]] = []
        longest: Context | None = None
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
                longest = longest or (depth + 1, total, stop - start)
                weight = max(weight * (1 - kept / total), _LEAST_WEIGHT)
        after_one, context = self._after_one(nodes[0] if nodes else -1)
        row: Floats = after_one * weight
        for indices, counts, scale in many:
            row[indices] += counts * scale
        for tokens, shares, scale in few:
            for token, share in zip(tokens, shares, strict=True):
                row[token] += share * scale
        return row, longest or context

    def _distribution_after_one(self, node: int) -> tuple[Floats, Context]:
        """The distribution and the context after one token or none, for all that is asked to start from."""
        start, stop = (self._quick_first[0][node], self._quick_first[0][node + 1]) if node >= 0 else (0, 0)
        if start == stop:
            return self._unigrams, (0, self._unigram_backoff[1], self.vocab_size)
        total, kept, tokens, counts = self._stored_followers(0, node, start, stop)
        row: Floats = self._unigrams * max(1 - kept / total, _LEAST_WEIGHT)
        row[tokens] += counts * (1 / total)
        return row, (1, total, stop - start)

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
    def _unigrams(self) -> Floats:
        """The distribution after nothing."""
        weight, total = self._unigram_backoff
        shares = self._shares[0][self._levels[0].counts] / max(total, 1)
        row: Floats = (shares + weight / self.vocab_size).astype(np.float32)
        return row

    def frequencies(self) -> NDArray[np.float64]:
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

    def nodes(self, stream: TokenIds, start: Nodes | None = None) -> Indices:
        """The context after each token of a stream, ``(N, order - 1)``."""
        return self._walk(stream, self.start() if start is None else start)[1]

    def distributions_and_contexts(self, nodes: Sequence[Nodes]) -> tuple[Floats, list[Context]]:
        """``distribution_and_context`` in each of some contexts, at least one: ``(N, V)`` and N.

        It is for some dozens: ``distributions`` is for thousands, and begins with a pass over all counts.
        """
        if len(nodes) < _SIDE_BY_SIDE:
            found = [self.distribution_and_context(node) for node in nodes]
            return np.concatenate([row for row, _ in found]).reshape(len(nodes), -1), [context for _, context in found]
        weights = np.ones(len(nodes))
        parts: list[tuple[Indices, Floats]] = []
        longest: list[Context | None] = [None] * len(nodes)
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
            scales: Floats = (weights[rows] / totals).astype(np.float32)
            shares *= scales.repeat(sizes)
            places = (rows * self.vocab_size).repeat(sizes)
            places += level.tokens.take(index)
            parts.append((places, shares))
            weights[rows] = np.maximum(weights[rows] * (1 - kept / totals), _LEAST_WEIGHT)
            for row, total, size in zip(rows.tolist(), totals.tolist(), sizes.tolist(), strict=True):
                longest[row] = longest[row] or (depth + 1, total, size)
        after_one = [self._after_one(node[0] if node else -1) for node in nodes]
        result = np.concatenate([row for row, _ in after_one]).reshape(len(nodes), -1)
        result *= weights.astype(np.float32)[:, None]
        flat = result.reshape(-1)
        for places, shares in parts:
            flat[places] += shares
        return result, [known or context for known, (_, context) in zip(longest, after_one, strict=True)]

    def distributions(self, nodes: Indices) -> Floats:
        """The distribution in each of some contexts ``(N, order - 1)``: ``(N, V)``."""
        scale = np.ones(len(nodes), np.float32)  # what the longer contexts leave to the shorter ones
        parts: list[tuple[Indices, Floats]] = []
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
            scale[used] = np.maximum(scale[used] * weight[node], _LEAST_WEIGHT)
        rows: Floats = scale[:, None] * self._unigrams
        for place, shares in parts:
            rows.reshape(-1)[place] += shares
        return rows

    def read(self, stream: TokenIds, start: Nodes | None = None) -> Reading:
        """Score every token of a stream but the first, each after those before it.

        Args:
            stream: token ids, ``(N,)``.
            start: the context before the first token; nothing, if omitted.
        """
        num_targets = max(0, len(stream) - 1)
        reading = Reading(
            np.empty(num_targets, np.float32),
            np.empty(num_targets, np.int8),
            np.empty(num_targets, np.float32),
            np.empty(num_targets, np.int32),
        )
        context = self.start() if start is None else start
        for begin in range(0, num_targets, _PIECE_TOKENS):
            piece = stream[begin : begin + _PIECE_TOKENS + 1]
            entries, contexts = self._walk(piece, context)
            self._score(reading, slice(begin, begin + len(piece) - 1), contexts[:-1], entries[1:])
            context = tuple(contexts[-2].tolist())
        return reading

    def nats(self, tokens: TokenIds, *, chunk_len: int = 1 << 16) -> float:
        """What a stream costs, in nats: all its tokens but the first; long streams are read in chunks."""
        total, context = 0.0, self.start()
        for start in range(0, len(tokens) - 1, chunk_len):
            chunk = np.asarray(tokens[start : start + chunk_len + 1])
            total -= float(np.log(self.read(chunk, context).probabilities, dtype=np.float64).sum())
            context = tuple(self.nodes(chunk[:-1], context)[-1].tolist())
        return total

    def _score(self, reading: Reading, here: slice, contexts: Indices, entries: Indices) -> None:
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
        reading.probabilities[here] = np.maximum(probabilities, _LEAST)

    @cached_property
    def _backoff(self) -> list[tuple[Floats, Floats]]:
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

    def _codes(self, depth: int, entry: Indices) -> NDArray[np.uint8]:
        """The counts of n-grams; anything for -1."""
        codes = self._levels[depth].counts
        return codes[entry] if len(codes) else np.zeros(len(entry), np.uint8)

    def _walk(self, stream: TokenIds, start: Nodes) -> tuple[Indices, Indices]:
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

    def _find(self, depth: int, nodes: Indices, tokens: Indices) -> Indices:
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
                arrays[f"children.{number}"] = sizes.astype(_smallest_dtype(int(sizes.max(initial=0))))
                if level.dropped.any():
                    arrays[f"dropped.{number}"] = level.dropped
        return arrays

    @property
    def num_bytes(self) -> int:
        """Of the arrays that are stored."""
        return sum(array.nbytes for array in self.to_arrays().values())

    @property
    def num_entries(self) -> list[int]:
        """How many n-grams of 1, 2, ... order tokens are stored."""
        return [len(level.counts) for level in self._levels]

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
        if not bool(((discounts >= _LEAST_DISCOUNT) & (discounts < [1, 2, 3])).all()):
            raise ModelError("the n-gram memory has a discount that is not between 0 and the count")
        rest = {name: array for name, array in arrays.items() if name != "discounts"}
        levels: list[_Level] = []
        size = vocab_size
        for number in range(1, order + 1):
            counts = _taken(rest, f"counts.{number}", ("uint8",), size)
            if number > 1 and not counts.all():
                raise ModelError(f"counts.{number} of the n-gram memory has a zero")
            if number == 1:
                tokens: NDArray[Any] = np.arange(vocab_size, dtype=np.uint32)
            else:
                tokens = _taken(rest, f"tokens.{number}", (_token_dtype(vocab_size).name,), size)
                if not _ascending(tokens, levels[-1].first, vocab_size):
                    raise ModelError(f"tokens.{number} of the n-gram memory is not in order")
            first, dropped = np.zeros(0, np.int32), np.zeros(0, np.uint8)
            if number < order:
                children = _taken(rest, f"children.{number}", ("uint8", "uint16", "uint32"), size)
                dropped = np.zeros(size, np.uint8)
                if f"dropped.{number}" in rest:
                    dropped = _taken(rest, f"dropped.{number}", ("uint8",), size)
                size = int(children.sum(dtype=np.uint64))
                if size > _MAX_ENTRIES:
                    raise ModelError(f"the n-gram memory has {size} entries at level {number + 1}")
                first = _starts(children)
            levels.append(_Level(tokens, counts, first, dropped))
        occurrences = _taken(rest, "occurrences", ("uint8",), vocab_size) if "occurrences" in rest else None
        if rest:
            raise ModelError(f"the n-gram memory has the unknown array {min(rest)[:60]!r}")
        return cls(levels, discounts, occurrences)


def _taken(arrays: dict[str, NDArray[Any]], name: str, dtypes: Sequence[str], size: int) -> NDArray[Any]:
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


def _token_dtype(vocab_size: int) -> np.dtype[Any]:
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


# ---------------------------------------------------------------------------------------- counting


class _Grams(NamedTuple):
    """The different n-grams of one length, sorted, while they are counted.

    Attributes:
        parents: the node at the level below, ``(n,)``.
        tokens: the last token.
        occurrences: how often each was seen.
        counts: the same at the highest order, else how many tokens were seen before it.
        private: whether it has a digit and was seen in one place only.
    """

    parents: Indices
    tokens: TokenIds
    occurrences: Indices
    counts: Indices
    private: NDArray[np.bool_]


def build(
    *streams: TokenIds,
    vocab_size: int,
    order: int = DEFAULT_ORDER,
    max_bytes: int | None = None,
    digit_tokens: NDArray[np.bool_] | None = None,
) -> NGrams:
    """Count the n-grams of some streams.

    Args:
        streams: token ids, each ``DE doc1 DE doc2 ... DE``. Of more than 2**24 tokens, evenly spaced stretches count.
        vocab_size: V.
        order: tokens in the longest n-gram, 1 to 8.
        max_bytes: drop the n-grams that matter least until the stored arrays are no larger.
        digit_tokens: which ids have digits, ``(V,)``. An n-gram of two or more tokens with such an id is counted only
            if it was seen in more than one document or more than 10,000 tokens apart: a number that stands in the text
            once, such as that of a card, is not learnt by heart.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order {order} is not from 1 to {MAX_ORDER}")
    levels = _count(_joined(streams, vocab_size), vocab_size, order, digit_tokens)
    discounts: Floats = np.array([_estimated_discounts(level.counts) for level in levels], np.float32)
    keep = [~level.private for level in levels]
    if max_bytes is not None and order > 1:
        keep = _fitting(levels, keep, max_bytes)
    return NGrams(_stored(levels, keep, vocab_size), discounts, _coded(levels[0].occurrences))


def _joined(streams: Sequence[TokenIds], vocab_size: int) -> TokenIds:
    """One stream of all, with one document end between them; of very many tokens, evenly spaced stretches."""
    parts: list[TokenIds] = []
    for stream in streams:
        part = np.asarray(stream)
        if parts and len(part):
            if parts[-1][-1] == DOCUMENT_END and part[0] == DOCUMENT_END:
                part = part[1:]
            elif parts[-1][-1] != DOCUMENT_END and part[0] != DOCUMENT_END:
                parts.append(np.array([DOCUMENT_END]))
        if len(part):
            parts.append(part)
    num_tokens = sum(map(len, parts))
    if num_tokens > _MAX_TOKENS:
        every = -(-num_tokens // _MAX_TOKENS)
        stretches = (
            part[begin : begin + _PIECE_TOKENS]
            for part in parts
            for begin in range(0, len(part), every * _PIECE_TOKENS)
        )
        parts = list(stretches)
    return np.concatenate([np.zeros(0, np.uint16), *parts]).astype(_token_dtype(vocab_size), copy=False)


def _count(tokens: TokenIds, vocab_size: int, order: int, digit_tokens: NDArray[np.bool_] | None) -> list[_Grams]:
    """The n-grams of each length up to ``order``, none crossing a document end."""
    ends = tokens == DOCUMENT_END
    document = np.cumsum(ends, dtype=np.int32) - ends  # the document end that closes a document still belongs to it
    has_digit = digit_tokens[tokens] if digit_tokens is not None else np.zeros(len(tokens), np.bool_)
    digit_within = has_digit
    nodes = tokens.astype(np.int32)  # of the n-gram that ends at each place, -1 where it would cross a document end
    seen = np.bincount(tokens[1:], minlength=vocab_size)
    all_tokens = np.arange(vocab_size, dtype=tokens.dtype)
    levels = [_Grams(np.zeros(vocab_size, np.int32), all_tokens, seen, seen, np.zeros(vocab_size, np.bool_))]
    for length in range(2, order + 1):
        before = np.full(len(tokens), -1, np.int32)
        before[1:] = nodes[:-1] if length == 2 else np.where(ends[:-1], -1, nodes[:-1])
        places, starts = _sorted(tokens, before, vocab_size)
        firsts = places[starts]
        parents, last_tokens = before[firsts], tokens[firsts]
        longer = np.bincount(nodes[firsts], minlength=len(levels[-1].counts))
        levels[-1] = levels[-1]._replace(counts=np.where(longer > 0, longer, levels[-1].occurrences).astype(np.int32))
        del before, firsts, longer  # here and below: hundreds of MB together
        occurrences = np.diff(starts, append=np.int32(len(places)))
        nodes.fill(-1)
        nodes[places] = np.repeat(np.arange(len(starts), dtype=np.int32), occurrences)
        private = np.zeros(len(starts), np.bool_)
        digit_within = has_digit | np.concatenate(([False], digit_within[:-1]))[: len(tokens)]
        if digit_tokens is not None and len(starts):
            first, last = np.minimum.reduceat(places, starts), np.maximum.reduceat(places, starts)
            near = (last - first <= _FAR_APART_TOKENS) & (document[last] == document[first])
            private = digit_within[first] & near
            del first, last, near
        levels.append(_Grams(parents, last_tokens, occurrences, occurrences, private))
        del parents, last_tokens, occurrences, private, places, starts
    return levels


def _sorted(tokens: TokenIds, before: Indices, vocab_size: int) -> tuple[Indices, NDArray[np.int32]]:
    """The places where n-grams end, those of equal ones side by side, and where in this order each n-gram begins.

    Args:
        tokens: the stream, ``(N,)``.
        before: node of the n-gram's other tokens at each place, -1 where there is none, ``(N,)``.
        vocab_size: V.
    """
    places = np.flatnonzero(before >= 0).astype(np.int32)
    keys = before[places].astype(np.int64)
    keys *= vocab_size
    keys += tokens[places]
    places = places[np.argsort(keys)]
    del keys
    new = np.ones(len(places), np.bool_)
    for part in (before, tokens):
        here = part[places]
        new[1:] &= here[1:] == here[:-1]
    new[1:] = ~new[1:]
    return places, np.flatnonzero(new).astype(np.int32)


def _estimated_discounts(counts: Indices) -> tuple[float, float, float]:
    """What counts of 1, 2, 3 and more are too high by, from how many there are of each (Chen and Goodman, eq. 26)."""
    one, two, three, four = (max(1, int(np.count_nonzero(counts == count))) for count in (1, 2, 3, 4))
    share = one / (one + 2 * two)
    first = 1 - 2 * share * two / one
    second = 2 - 3 * share * three / two
    third = 3 - 4 * share * four / three
    first = min(max(first, 0.1), 0.95)
    second = min(max(second, first), 1.9)
    return first, second, min(max(third, second), 2.85)


def _fitting(levels: Sequence[_Grams], keep: Sequence[NDArray[np.bool_]], max_bytes: int) -> list[NDArray[np.bool_]]:
    """Which n-grams to keep in so many bytes: the most frequent, and of equally frequent ones the shorter first.

    Then those of rarer contexts first, which say more. An n-gram stays as long as one that continues it. Losing what
    is frequent but foreseen by the shorter context (Seymore and Rosenfeld 1996) was worse: Kneser-Ney's lower orders
    are made for what the higher ones do not have (benchmarks/recipes.md).
    """
    worths: list[Floats] = []
    for index in range(len(levels) - 1, 0, -1):
        level = levels[index]
        context = np.bincount(level.parents, level.occurrences).astype(np.float32)[level.parents]
        worth = level.occurrences.astype(np.float32) - (index - np.float32(0.5) / context) / len(levels)
        worth[~keep[index]] = 0
        if worths:
            np.maximum.at(worth, levels[index + 1].parents, worths[0])
        worths.insert(0, worth)
    bounds = np.cumsum([len(worth) for worth in worths])[:-1]
    all_worths = np.concatenate(worths)
    del worths, worth, context
    num_grams = len(all_worths)
    best = _best(all_worths, max(1, max_bytes // (levels[0].tokens.itemsize + 1)))
    del all_worths
    widths = [1] * (len(levels) - 1)  # bytes of a number of children, if there are few; else as wide as it turned out
    while True:
        sizes = [levels[0].tokens.itemsize + 1 + (1 + width if width else 0) for width in [*widths[1:], 0]]
        of_each = np.repeat(np.array(sizes, np.int8), np.diff([0, *bounds, num_grams]))
        room = max_bytes - 12 * len(levels) - (3 + widths[0]) * len(levels[0].counts)
        chosen = np.zeros(num_grams, np.bool_)
        chosen[best[: np.searchsorted(np.cumsum(of_each[best]), room, side="right")]] = True
        kept = [keep[0], *(may & does for may, does in zip(keep[1:], np.split(chosen, bounds), strict=True))]
        most = [
            int(np.bincount(above.parents[here]).max(initial=0))
            for above, here in zip(levels[1:], kept[1:], strict=True)
        ]
        needed = [max(width, _smallest_dtype(number).itemsize) for width, number in zip(widths, most, strict=True)]
        if needed == widths:
            return kept
        widths = needed


def _best(worths: Floats, most: int) -> Indices:
    """Places of the most worth, the first of equals first; of more than ``most``, those worth less may be missing."""
    least = np.partition(worths, len(worths) - most)[len(worths) - most] if most < len(worths) else -np.inf
    places = np.flatnonzero(worths >= least)
    best: Indices = places[np.argsort(-worths[places], kind="stable")]
    return best


def _stored(levels: Sequence[_Grams], keep: Sequence[NDArray[np.bool_]], vocab_size: int) -> list[_Level]:
    """The levels as they are stored, without the n-grams that are not kept; whose parent goes, goes too."""
    stored = []
    dtype = _token_dtype(vocab_size)
    for index, level in enumerate(levels):
        first, dropped = np.zeros(0, np.int32), np.zeros(0, np.uint8)
        if index + 1 < len(levels):
            above, kept = levels[index + 1], keep[index + 1]
            first = _starts(np.bincount(above.parents[kept], minlength=len(level.counts))[keep[index]])
            lost = np.zeros(len(level.counts), np.int64)
            np.add.at(lost, above.parents[~kept], above.counts[~kept])  # bincount would count in float64
            dropped = _coded(lost[keep[index]])
        stored.append(
            _Level(level.tokens[keep[index]].astype(dtype), _coded(level.counts[keep[index]]), first, dropped)
        )
    return stored


def _coded(counts: NDArray[Any]) -> NDArray[np.uint8]:
    """The codes of the nearest values."""
    return np.searchsorted((_VALUES[1:] + _VALUES[:-1]) / 2, counts, side="left").astype(np.uint8)


def _smallest_dtype(largest: int) -> np.dtype[Any]:
    """The smallest type that holds numbers up to this one."""
    return np.dtype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32)
