"""Counting the contexts of a token stream, and keeping those that are worth their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gru_complete.ngrams.counts import PIECE_TOKENS, smallest_dtype
from gru_complete.text.tokenizer import DOCUMENT_END

if TYPE_CHECKING:  # `complete` imports this module, and has no use for shards
    from gru_complete.arrays import TokenIds, token_dtype
from gru_complete.arrays import Float32Array, IntArray, token_dtype
from gru_complete.ngrams.counts import _VALUES, DEFAULT_ORDER, MAX_ORDER, NGrams, _Level, _starts

_FAR_APART_TOKENS = 10_000
_MAX_TOKENS = 1 << 24


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

    parents: IntArray
    tokens: TokenIds
    occurrences: IntArray
    counts: IntArray
    private: NDArray[np.bool_]


def count_ngrams(
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
    discounts: Float32Array = np.array([_estimated_discounts(level.counts) for level in levels], np.float32)
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
            part[begin : begin + PIECE_TOKENS] for part in parts for begin in range(0, len(part), every * PIECE_TOKENS)
        )
        parts = list(stretches)
    return np.concatenate([np.zeros(0, np.uint16), *parts]).astype(token_dtype(vocab_size), copy=False)


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


def _sorted(tokens: TokenIds, before: IntArray, vocab_size: int) -> tuple[IntArray, NDArray[np.int32]]:
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


def _estimated_discounts(counts: IntArray) -> tuple[float, float, float]:
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
    worths: list[Float32Array] = []
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
        needed = [max(width, smallest_dtype(number).itemsize) for width, number in zip(widths, most, strict=True)]
        if needed == widths:
            return kept
        widths = needed


def _best(worths: Float32Array, most: int) -> IntArray:
    """Places of the most worth, the first of equals first; of more than ``most``, those worth less may be missing."""
    least = np.partition(worths, len(worths) - most)[len(worths) - most] if most < len(worths) else -np.inf
    places = np.flatnonzero(worths >= least)
    best: IntArray = places[np.argsort(-worths[places], kind="stable")]
    return best


def _stored(levels: Sequence[_Grams], keep: Sequence[NDArray[np.bool_]], vocab_size: int) -> list[_Level]:
    """The levels as they are stored, without the n-grams that are not kept; whose parent goes, goes too."""
    stored = []
    dtype = token_dtype(vocab_size)
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
