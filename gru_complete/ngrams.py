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

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gru_complete.errors import ModelError
from gru_complete.text.shards import TokenIds
from gru_complete.text.tokenizer import DOCUMENT_END

MAX_ORDER = 8
DEFAULT_ORDER = 5

Nodes = tuple[int, ...]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

_FAR_APART_TOKENS = 10_000
_CACHED_ROW_BYTES = 4 << 20
_MAX_ENTRIES = 1 << 28
_FEW = 6  # so many followers are looped over in Python sooner than numpy has started
_EXACT_COUNTS = 128
_GROWTH = 1.09
_CODES = np.arange(256)
# A count is one byte: itself up to 128, then in steps of 9 % up to millions.
_VALUES: NDArray[np.float64] = np.where(
    _CODES <= _EXACT_COUNTS, _CODES, np.round(_EXACT_COUNTS * _GROWTH ** np.maximum(0.0, _CODES - _EXACT_COUNTS))
)


@dataclass(frozen=True)
class Reading:
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


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length, sorted.

    Attributes:
        tokens: the last token of each; at level 1, all of them.
        counts: codes of ``_VALUES``.
        children: at all levels but the last, how many n-grams of the next level continue each.
        dropped: likewise, the code of the count of those that were dropped.
    """

    tokens: NDArray[np.unsignedinteger[Any]]
    counts: NDArray[np.uint8]
    children: NDArray[np.unsignedinteger[Any]]
    dropped: NDArray[np.uint8]


class NGrams:
    """Counts of contexts and their followers, and the probabilities they give.

    Attributes:
        vocab_size: V.
        order: tokens in the longest n-gram; contexts have up to one less.
    """

    def __init__(self, levels: Sequence[_Level], discounts: Floats) -> None:
        """Take over arrays that ``build`` made or ``from_arrays`` checked.

        Args:
            levels: of n-grams of 1, 2, ... order tokens.
            discounts: what is taken from counts of 1, 2, and 3 or more, ``(order, 3)``.
        """
        self.order = len(levels)
        self.vocab_size = len(levels[0].counts)
        self._levels = levels
        self._discounts = discounts
        self._first = [np.concatenate(([0], np.cumsum(level.children, dtype=np.int64))) for level in levels[:-1]]
        taken = np.minimum(discounts[:, np.clip(_CODES, 1, 3) - 1], _VALUES)
        self._shares = _VALUES - taken  # (order, 256): by code, a count less its discount
        self._rows: dict[int, Floats] = {}
        # Python reads single numbers from these several times faster than from arrays.
        self._quick_first = [first.data for first in self._first]
        self._quick_tokens = [level.tokens.data for level in levels]
        self._quick_counts = [level.counts.data for level in levels]
        self._quick_dropped = [level.dropped.data for level in levels[:-1]]
        self._quick_shares = self._shares.tolist()
        self._quick_values = _VALUES.tolist()
        self._table = np.stack([np.broadcast_to(_VALUES, self._shares.shape), self._shares], axis=-1)
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

    def context(self, nodes: Nodes) -> tuple[int, float, int]:
        """The longest context that has followers: its length, what was counted after it, and how many they are."""
        for depth in reversed(range(self.order - 1)):
            node = nodes[depth]
            if node >= 0:
                start, stop = self._quick_first[depth][node], self._quick_first[depth][node + 1]
                if start < stop:
                    return depth + 1, self._sums(depth, node, start, stop)[0], stop - start
        return 0, float(_VALUES[self._levels[0].counts].sum()), self.vocab_size

    def distribution(self, nodes: Nodes) -> Floats:
        """Probability of each token in a context, ``(V,)``: all above 0, their sum 1; the caller's to change."""
        weight = 1.0
        parts = []
        for depth in range(self.order - 2, 0, -1):
            node = nodes[depth]
            if node < 0:
                continue
            start, stop = self._quick_first[depth][node], self._quick_first[depth][node + 1]
            if start < stop:
                total, kept = self._sums(depth, node, start, stop)
                parts.append((depth + 1, start, stop, weight / total))
                weight *= 1 - kept / total
        row: Floats = self._row(nodes[0] if self.order > 1 else -1) * np.float32(weight)
        for depth, start, stop, scale in parts:
            if stop - start <= _FEW:
                tokens, counts, shares = self._quick_tokens[depth], self._quick_counts[depth], self._quick_shares[depth]
                for index in range(start, stop):
                    row[tokens[index]] += scale * shares[counts[index]]
            else:
                level = self._levels[depth]
                shares = self._float_shares[depth].take(level.counts[start:stop])
                shares *= scale
                row[level.tokens[start:stop]] += shares
        return row

    def _sums(self, depth: int, node: int, start: int, stop: int) -> tuple[float, float]:
        """Of the followers of a context: their counts, the dropped ones included, and their discounted counts."""
        total = self._quick_values[self._quick_dropped[depth][node]]
        if stop - start > _FEW:
            counted, kept = self._table[depth + 1].take(self._levels[depth + 1].counts[start:stop], axis=0).sum(axis=0)
            return total + float(counted), float(kept)
        values, shares = self._quick_values, self._quick_shares[depth + 1]
        kept = 0.0
        for code in self._quick_counts[depth + 1][start:stop]:
            total += values[code]
            kept += shares[code]
        return total, kept

    def _row(self, token: int) -> Floats:
        """The distribution after this token and nothing before it; -1 for no token at all."""
        row = self._rows.get(token)
        if row is None:
            if len(self._rows) * self.vocab_size * 4 > _CACHED_ROW_BYTES:
                self._rows.clear()
            row = self._unigrams() if token < 0 else self._row(-1).copy()
            if token >= 0:
                start, stop = self._quick_first[0][token], self._quick_first[0][token + 1]
                if start < stop:
                    total, kept = self._sums(0, token, start, stop)
                    row *= np.float32(1 - kept / total)
                    level = self._levels[1]
                    row[level.tokens[start:stop]] += self._float_shares[1][level.counts[start:stop]] / np.float32(total)
            self._rows[token] = row
        return row

    def _unigrams(self) -> Floats:
        counts = self._levels[0].counts
        total = float(_VALUES[counts].sum())
        if not total:
            return np.full(self.vocab_size, 1 / self.vocab_size, np.float32)
        shares: NDArray[np.float64] = self._shares[0][counts] / total
        return (shares + (1 - shares.sum()) / self.vocab_size).astype(np.float32)

    # ------------------------------------------------------------------------------------ many contexts

    def nodes(self, stream: TokenIds, start: Nodes | None = None) -> Ints:
        """The context after each token of a stream, ``(N, order - 1)``."""
        return self._contexts(stream, self._entries(stream, self.start() if start is None else start))

    def distributions(self, nodes: Ints) -> Floats:
        """The distribution in each of some contexts ``(N, order - 1)``: ``(N, V)``."""
        rows: Floats = np.tile(self._unigrams(), (len(nodes), 1))
        for depth in range(self.order - 1):
            weight, totals = self._backoff[depth]
            node = nodes[:, depth]
            used = np.flatnonzero(node >= 0)
            node = node[used]
            rows[used] *= weight[node, None]
            sizes = np.diff(self._first[depth])[node]
            which = np.repeat(np.arange(len(node)), sizes)
            index = (
                np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + self._first[depth][node][which]
            )
            level = self._levels[depth + 1]
            shares = self._shares[depth + 1][level.counts[index]] / totals[node][which]
            rows[used[which], level.tokens[index]] += shares.astype(np.float32)
        return rows

    def read(self, stream: TokenIds, start: Nodes | None = None) -> Reading:
        """Score every token of a stream but the first, each after those before it.

        Args:
            stream: token ids, ``(N,)``.
            start: the context before the first token; nothing, if omitted.
        """
        entries = self._entries(stream, self.start() if start is None else start)
        contexts = self._contexts(stream, entries)[:-1]
        targets = np.asarray(stream[1:], np.int64)
        probabilities = self._unigrams()[targets].astype(np.float64)
        lengths = np.zeros(len(targets), np.int8)
        totals = np.full(len(targets), _VALUES[self._levels[0].counts].sum(), np.float32)
        followers = np.full(len(targets), self.vocab_size, np.int32)
        for depth in range(self.order - 1):
            weight, total = self._backoff[depth]
            node, entry = contexts[:, depth], entries[1:, depth + 1]
            children = np.where(node >= 0, np.diff(self._first[depth])[node], 0)
            found = children > 0
            share = np.where(entry >= 0, self._shares[depth + 1][self._codes(depth + 1, entry)], 0)
            here = share / total[node] + weight[node] * probabilities
            probabilities = np.where(found, here, probabilities)
            lengths[found] = depth + 1
            totals = np.where(found, total[node], totals).astype(np.float32)
            followers = np.where(found, children, followers).astype(np.int32)
        return Reading(probabilities.astype(np.float32), lengths, totals, followers)

    def leave_one_out(self, stream: TokenIds) -> Reading:
        """Score the stream from which the counts come, each token as if it had not been counted here.

        This occurrence is subtracted at the highest order, and at a lower one if no other n-gram of the order above
        it remains. The discounts stay what they are. Exact when nothing was dropped and for counts up to 128; what was
        dropped is taken for seen once. A context left without followers counts as unseen.
        """
        entries = self._entries(stream, self.start())
        contexts = self._contexts(stream, entries)[:-1]
        targets = np.asarray(stream[1:], np.int64)
        reach = self._reach(stream)[:-1]  # tokens that the context may have at all
        removed = [np.ones(len(targets))]
        for depth in reversed(range(self.order - 1)):  # is the n-gram of depth + 2 tokens gone, without this one?
            count = _VALUES[self._codes(depth + 1, entries[1:, depth + 1])]
            gone = (count <= removed[0]) | (entries[1:, depth + 1] < 0)
            removed.insert(0, np.where(reach > depth, gone, 1.0))
        counts = self._levels[0].counts
        count = _VALUES[counts[targets]]
        total = _VALUES[counts].sum() - removed[0]
        kept = self._shares[0][counts].sum() - self._shares[0][counts[targets]]
        share = self._discounted(0, count - removed[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            probabilities = share / total + (1 - (kept + share) / total) / self.vocab_size
        probabilities = np.where(total > 0, probabilities, 1 / self.vocab_size)
        lengths = np.zeros(len(targets), np.int8)
        totals = total.astype(np.float32)
        followers = np.full(len(targets), self.vocab_size, np.int32)
        for depth in range(self.order - 1):
            weight, all_totals = self._backoff[depth]
            node, entry = contexts[:, depth], entries[1:, depth + 1]
            children = np.where(node >= 0, np.diff(self._first[depth])[node], 0)
            code = self._codes(depth + 1, entry)
            count = np.where(entry >= 0, _VALUES[code], 0)
            before = np.where(entry >= 0, self._shares[depth + 1][code], 0)
            left = np.maximum(count - removed[depth + 1], 0)
            share = self._discounted(depth + 1, left)
            total = all_totals[node] - removed[depth + 1]
            children = children - ((entry >= 0) & (left == 0))
            kept = np.maximum((1 - weight[node]) * all_totals[node] - before + share, 0)
            found = children > 0
            with np.errstate(divide="ignore", invalid="ignore"):
                here = share / total + (1 - kept / total) * probabilities
            probabilities = np.where(found, here, probabilities)
            lengths[found] = depth + 1
            totals = np.where(found, total, totals).astype(np.float32)
            followers = np.where(found, children, followers).astype(np.int32)
        return Reading(probabilities.astype(np.float32), lengths, totals, followers)

    @cached_property
    def _backoff(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """For each level but the last: the weight of the shorter context (1 if there is no follower) and the total."""
        result = []
        for depth, first in enumerate(self._first):
            codes = self._levels[depth + 1].counts
            counted = np.concatenate(([0], np.cumsum(_VALUES[codes])))
            shares = np.concatenate(([0], np.cumsum(self._shares[depth + 1][codes])))
            totals = counted[first[1:]] - counted[first[:-1]] + _VALUES[self._levels[depth].dropped]
            kept = shares[first[1:]] - shares[first[:-1]]
            totals = np.where(first[1:] > first[:-1], totals, 1)
            result.append((1 - kept / totals, totals))
        return result

    def _discounted(self, depth: int, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        discounts = np.concatenate(([0], self._discounts[depth]))[np.clip(counts, 0, 3).astype(np.int64)]
        return np.maximum(counts - discounts, 0)

    def _codes(self, depth: int, entry: Ints) -> NDArray[np.uint8]:
        """The counts of n-grams, where there are any."""
        codes = self._levels[depth].counts
        return codes[entry] if len(codes) else np.zeros(len(entry), np.uint8)

    def _entries(self, stream: TokenIds, start: Nodes) -> Ints:
        """The n-grams that end with each token, ``(N, order)``, -1 where not stored."""
        tokens = np.asarray(stream, np.int64)
        entries = np.full((len(tokens), self.order), -1, np.int64)
        entries[:, 0] = tokens
        for depth in range(self.order - 1):
            parents = np.concatenate(([start[depth]], entries[:-1, depth]))
            if depth:
                parents[1:][tokens[:-1] == DOCUMENT_END] = -1
            used = np.flatnonzero(parents >= 0)
            entries[used, depth + 1] = self._find(depth, parents[used], tokens[used])
        return entries

    def _contexts(self, stream: TokenIds, entries: Ints) -> Ints:
        """Contexts after each token from the n-grams that end with it: a document end hides what it ends."""
        contexts: Ints = entries[:, :-1].copy()
        contexts[np.asarray(stream) == DOCUMENT_END, 1:] = -1
        return contexts

    def _find(self, depth: int, nodes: Ints, tokens: Ints) -> Ints:
        """The children of nodes by these tokens, -1 where there is none: a binary search in all at once."""
        all_tokens = self._levels[depth + 1].tokens
        if not len(all_tokens):
            return np.full(len(nodes), -1, np.int64)
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

    def _reach(self, stream: TokenIds) -> Ints:
        """How many tokens the context after each token has, at most ``order - 1``: it starts at a document end."""
        places = np.arange(len(stream))
        last_end = np.maximum.accumulate(np.where(np.asarray(stream) == DOCUMENT_END, places, 0))
        return np.minimum(places - last_end + 1, self.order - 1)

    # ------------------------------------------------------------------------------------ on disk

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """All there is to store, by name; ``from_arrays`` takes it back."""
        arrays: dict[str, NDArray[Any]] = {"discounts": self._discounts}
        for number, level in enumerate(self._levels, start=1):
            arrays[f"counts.{number}"] = level.counts
            if number > 1:
                arrays[f"tokens.{number}"] = level.tokens
            if number < self.order:
                arrays[f"children.{number}"] = level.children
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
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], vocab_size: int) -> "NGrams":
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
        if not bool(((discounts >= 0) & (discounts < [1, 2, 3])).all()):
            raise ModelError("the n-gram memory has a discount that is not below the count")
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
                if not _ascending(tokens, levels[-1].children, vocab_size):
                    raise ModelError(f"tokens.{number} of the n-gram memory is not in order")
            children = dropped = np.zeros(0, np.uint8)
            if number < order:
                children = _taken(rest, f"children.{number}", ("uint8", "uint16", "uint32"), size)
                dropped = np.zeros(size, np.uint8)
                if f"dropped.{number}" in rest:
                    dropped = _taken(rest, f"dropped.{number}", ("uint8",), size)
                size = int(children.sum(dtype=np.uint64))
                if size > _MAX_ENTRIES:
                    raise ModelError(f"the n-gram memory has {size} entries at level {number + 1}")
            levels.append(_Level(tokens, counts, children, dropped))
        if rest:
            raise ModelError(f"the n-gram memory has the unknown array {min(rest)[:60]!r}")
        return cls(levels, discounts)


def _taken(arrays: dict[str, NDArray[Any]], name: str, dtypes: Sequence[str], size: int) -> NDArray[Any]:
    """Take an array of this size out of those that are left."""
    array = arrays.pop(name, None)
    if array is None or array.dtype.name not in dtypes or array.shape != (size,):
        raise ModelError(f"the n-gram memory has no {name} of {size} {' or '.join(dtypes)}")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _ascending(tokens: NDArray[Any], children: NDArray[Any], vocab_size: int) -> bool:
    """Whether the children of each node are different tokens below ``vocab_size`` in ascending order."""
    if not len(tokens):
        return True
    if int(tokens.max()) >= vocab_size:
        return False
    rises = tokens[1:] > tokens[:-1]
    starts = np.cumsum(children, dtype=np.int64)[:-1]
    rises[starts[(starts > 0) & (starts < len(tokens))] - 1] = True
    return bool(rises.all())


def _token_dtype(vocab_size: int) -> np.dtype[Any]:
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


# ---------------------------------------------------------------------------------------- counting


@dataclass
class _Grams:
    """The different n-grams of one length, sorted, while they are counted.

    Attributes:
        parents: the node at the level below, ``(n,)``.
        tokens: the last token.
        suffixes: the node at the level below of the n-gram without its first token.
        occurrences: how often each was seen.
        counts: the same at the highest order, else how many tokens were seen before it.
        private: whether it has a digit and was seen in one place only.
    """

    parents: Ints
    tokens: Ints
    suffixes: Ints
    occurrences: Ints
    counts: Ints
    private: NDArray[np.bool_]


def build(
    *streams: TokenIds,
    vocab_size: int,
    order: int = DEFAULT_ORDER,
    max_bytes: int | None = None,
    digit_tokens: NDArray[np.bool_] | None = None,
    discounts: Floats | None = None,
) -> NGrams:
    """Count the n-grams of some streams.

    Args:
        streams: token ids, each ``DE doc1 DE doc2 ... DE``; the order does not matter.
        vocab_size: V.
        order: tokens in the longest n-gram, 1 to 8.
        max_bytes: drop the n-grams that matter least until the stored arrays are no larger.
        digit_tokens: which ids have digits, ``(V,)``. An n-gram of two or more tokens with such an id is counted only
            if it was seen in more than one document or more than 10,000 tokens apart: a number that stands in the text
            once, such as that of a card, is not learnt by heart.
        discounts: ``(order, 3)``; estimated from the counts if omitted.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order {order} is not from 1 to {MAX_ORDER}")
    tokens = _joined(streams)
    levels = _count(tokens, vocab_size, order, digit_tokens)
    if discounts is None:
        discounts = np.array([_estimated_discounts(level.counts) for level in levels], np.float32)
    keep = _kept(levels, vocab_size, max_bytes)
    return NGrams(_stored(levels, keep, vocab_size), discounts)


def _joined(streams: Sequence[TokenIds]) -> Ints:
    """One stream of all, with one document end between them."""
    parts: list[Ints] = []
    for stream in streams:
        part = np.asarray(stream, np.int64)
        if parts and len(parts[-1]) and len(part):
            both = parts[-1][-1] == DOCUMENT_END and part[0] == DOCUMENT_END
            neither = parts[-1][-1] != DOCUMENT_END and part[0] != DOCUMENT_END
            part = part[1:] if both else np.concatenate(([DOCUMENT_END], part)) if neither else part
        parts.append(part)
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _count(tokens: Ints, vocab_size: int, order: int, digit_tokens: NDArray[np.bool_] | None) -> list[_Grams]:
    """The n-grams of each length up to ``order``, none crossing a document end."""
    ends = tokens == DOCUMENT_END
    document = np.cumsum(ends)
    has_digit = np.zeros(len(tokens), np.bool_) if digit_tokens is None else digit_tokens[tokens]
    secret = has_digit
    nodes = tokens  # of the n-gram that ends at each position, -1 where it would cross a document end
    occurrences = np.bincount(tokens[1:], minlength=vocab_size)
    none = np.zeros(vocab_size, np.int64)
    levels = [_Grams(none, np.arange(vocab_size), none, occurrences, occurrences, np.zeros(vocab_size, np.bool_))]
    for length in range(2, order + 1):
        before = np.concatenate(([-1], nodes[:-1]))
        if length > 2:
            before[1:][ends[:-1]] = -1
        places = np.flatnonzero(before >= 0)
        keys = before[places] * vocab_size + tokens[places]
        sorting = np.argsort(keys, kind="stable")
        keys, places = keys[sorting], places[sorting]
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else places
        suffixes = nodes[places[starts]]
        sizes = np.diff(np.append(starts, len(keys)))
        nodes = np.full(len(tokens), -1, np.int64)
        nodes[places] = np.repeat(np.arange(len(starts)), sizes)
        first, last = places[starts], places[starts + sizes - 1]
        secret = has_digit | np.concatenate(([False], secret[:-1]))
        # the document end that closes a document still belongs to it
        apart = (last - first > _FAR_APART_TOKENS) | ((document - ends)[last] != (document - ends)[first])
        keys = keys[starts]
        levels.append(_Grams(keys // vocab_size, keys % vocab_size, suffixes, sizes, sizes, secret[first] & ~apart))
        different = np.bincount(suffixes, minlength=len(levels[-2].counts))
        levels[-2].counts = np.where(different > 0, different, levels[-2].occurrences)
    return levels


def _estimated_discounts(counts: Ints) -> tuple[float, float, float]:
    """What counts of 1, 2, 3 and more are too high by, from how many there are of each (Chen and Goodman, eq. 26)."""
    one, two, three, four = (max(1, int(np.count_nonzero(counts == count))) for count in (1, 2, 3, 4))
    share = one / (one + 2 * two)
    first = 1 - 2 * share * two / one
    second = 2 - 3 * share * three / two
    third = 3 - 4 * share * four / three
    first = min(max(first, 0.1), 0.95)
    second = min(max(second, first), 1.9)
    return first, second, min(max(third, second), 2.85)


def _kept(levels: Sequence[_Grams], vocab_size: int, max_bytes: int | None) -> list[NDArray[np.bool_]]:
    """Which n-grams to store: none that is private, and otherwise the most frequent, as many as fit.

    Of equally frequent ones the longer go first, and an n-gram stays as long as one that continues it.
    """
    keep = [~level.private for level in levels]
    if max_bytes is None or len(levels) == 1:
        return keep
    token_bytes = _token_dtype(vocab_size).itemsize
    room, sizes = max_bytes - 12 * len(levels) - 6 * vocab_size, []
    worths: list[NDArray[np.float64]] = [np.zeros(0)] * len(levels)
    for index in range(len(levels) - 1, 0, -1):
        level = levels[index]
        worth = np.where(keep[index], level.occurrences - index / len(levels), 0.0)
        sizes.append(token_bytes + 1)
        if index + 1 < len(levels):
            above = levels[index + 1]
            np.maximum.at(worth, above.parents, worths[index + 1])
            most = np.bincount(above.parents).max(initial=0)
            sizes[-1] += 1 + (1 if most < 1 << 8 else 2 if most < 1 << 16 else 4)
        worths[index] = worth
    every = np.concatenate(worths[1:])
    size = np.repeat(sizes[::-1], [len(worth) for worth in worths[1:]])
    best = np.argsort(-every, kind="stable")
    kept = np.zeros(len(every), np.bool_)
    kept[best[: np.searchsorted(np.cumsum(size[best]), room, side="right")]] = True
    parts = np.split(kept, np.cumsum([len(worth) for worth in worths[1:]])[:-1])
    return [keep[0], *(may & does for may, does in zip(keep[1:], parts, strict=True))]


def _stored(levels: Sequence[_Grams], keep: Sequence[NDArray[np.bool_]], vocab_size: int) -> list[_Level]:
    """The levels as they are stored, without the n-grams that are not kept; whose parent goes, goes too."""
    stored = []
    dtype = _token_dtype(vocab_size)
    for index, level in enumerate(levels):
        children = dropped = np.zeros(0, np.uint8)
        if index + 1 < len(levels):
            above = levels[index + 1]
            sizes = np.bincount(above.parents[keep[index + 1]], minlength=len(level.counts))[keep[index]]
            gone = ~keep[index + 1]
            lost = np.bincount(above.parents[gone], above.counts[gone], minlength=len(level.counts))[keep[index]]
            children, dropped = _smallest(sizes), _coded(lost)
        stored.append(
            _Level(level.tokens[keep[index]].astype(dtype), _coded(level.counts[keep[index]]), children, dropped)
        )
    return stored


def _coded(counts: NDArray[Any]) -> NDArray[np.uint8]:
    """The codes of the nearest values."""
    return np.searchsorted((_VALUES[1:] + _VALUES[:-1]) / 2, counts, side="left").astype(np.uint8)


def _smallest(sizes: Ints) -> NDArray[np.unsignedinteger[Any]]:
    """Whole numbers in the smallest type that holds them."""
    largest = int(sizes.max(initial=0))
    return sizes.astype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32)
