"""Counting the n-grams of token streams, and keeping those that are worth their bytes.

``count_ngrams`` counts all n-grams (``_count``), estimates the discounts from how many were seen once, twice and so on
(``_estimated_discounts``), chooses those that fit into ``max_bytes`` (``choose_fitting``) and stores them
(``stored_levels``).

Shapes: V vocab_size, N tokens of a stream, C n-grams of one length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gru_complete.arrays import BoolArray, Float32Array, IndexArray, IntArray, token_dtype
from gru_complete.ngrams.counts import BLOCK_TOKENS, DEFAULT_ORDER, NGrams
from gru_complete.ngrams.trie import MAX_ORDER, Level, Trie, group_starts, nearest_codes, smallest_dtype
from gru_complete.text.tokenizer import DOCUMENT_END

if TYPE_CHECKING:
    from gru_complete.arrays import TokenIds

_FAR_APART_TOKENS = 10_000
MAX_TOKENS = 1 << 24


class Grams(NamedTuple):
    """The different n-grams of one length, sorted, while they are counted.

    Attributes:
        parents: the node of each one's context in the level below, ``(C,)``.
        tokens: the last token of each, ``(C,)``.
        occurrences: how often each was seen, ``(C,)``.
        counts: the same at the highest order, else how many different tokens were seen before it, ``(C,)``.
        is_private: whether it must not be kept: it has a digit and was seen in one place only, or it is in too few
            documents, ``(C,)``.
    """

    parents: IntArray
    tokens: TokenIds
    occurrences: IntArray
    counts: IntArray
    is_private: BoolArray


class _Stream(NamedTuple):
    """The stream that is counted.

    Attributes:
        tokens: its token ids, ``(N,)``.
        is_end: which of them are document ends, ``(N,)``.
        document: the number of each token's document, ``(N,)``; a document end belongs to the document it closes.
        has_digit: which tokens have digits, ``(N,)``; None where numbers are like other tokens.
        vocab_size: V.
        min_documents: in how many documents an n-gram of two or more tokens must be.
    """

    tokens: TokenIds
    is_end: BoolArray
    document: IntArray
    has_digit: BoolArray | None
    vocab_size: int
    min_documents: int = 1


def count_ngrams(
    *streams: TokenIds,
    vocab_size: int,
    order: int = DEFAULT_ORDER,
    max_bytes: int | None = None,
    digit_tokens: BoolArray | None = None,
    min_documents: int = 1,
    max_tokens: int = MAX_TOKENS,
) -> NGrams:
    """Count the n-grams of some streams.

    Args:
        streams: token ids, each ``DE doc1 DE doc2 ... DE`` with DE the document end.
        vocab_size: V.
        order: tokens in the longest n-gram, 1 to 8.
        max_bytes: drop the n-grams that matter least until the stored arrays are no larger.
        digit_tokens: which ids have digits, ``(V,)``. An n-gram of two or more tokens with such an id is counted only
            if it was seen in more than one document or more than 10,000 tokens apart: a number that occurs in one
            place, such as that of a card, is not learnt by heart.
        min_documents: only n-grams of two or more tokens are kept that are in so many documents, so that nothing that
            only one of them says can be read out of the counts.
        max_tokens: if there are more together, only evenly spaced stretches of them are counted.

    Raises:
        ValueError: the order is not from 1 to 8.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order {order} is not from 1 to {MAX_ORDER}")
    stream = _prepared(_joined(streams, vocab_size, max_tokens), vocab_size, digit_tokens)
    levels = _count(stream._replace(min_documents=min_documents), order)
    discounts: Float32Array = np.array([_estimated_discounts(level.counts) for level in levels], np.float32)
    keep = [~level.is_private for level in levels]
    if max_bytes is not None and order > 1:
        keep = choose_fitting(levels, keep, max_bytes)
    return NGrams(Trie(stored_levels(levels, keep, vocab_size), discounts, nearest_codes(levels[0].occurrences)))


# ---------------------------------------------------------------------------------------- counting


def _joined(streams: Sequence[TokenIds], vocab_size: int, max_tokens: int) -> TokenIds:
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
    if num_tokens > max_tokens:
        every = -(-num_tokens // max_tokens)
        stretches = (
            part[begin : begin + BLOCK_TOKENS] for part in parts for begin in range(0, len(part), every * BLOCK_TOKENS)
        )
        parts = list(stretches)
    return np.concatenate([np.zeros(0, np.uint16), *parts]).astype(token_dtype(vocab_size), copy=False)


def _prepared(tokens: TokenIds, vocab_size: int, digit_tokens: BoolArray | None) -> _Stream:
    is_end = tokens == DOCUMENT_END
    document = np.cumsum(is_end, dtype=np.int32) - is_end
    return _Stream(tokens, is_end, document, None if digit_tokens is None else digit_tokens[tokens], vocab_size)


def _count(stream: _Stream, order: int) -> list[Grams]:
    """The n-grams of each length up to ``order``, none of which crosses a document end.

    The n-grams of k + 1 tokens come from those of k: each place in the stream has the node of the n-gram that ends
    there, and sorting the places by (node one place earlier, token) puts the places of equal longer n-grams side by
    side. Kneser-Ney's counts of a level (how many different tokens were seen before an n-gram) are known only once the
    next level is, and are then put in.

    The arrays of a level and of N places are hundreds of megabytes for 2**24 tokens. So a level's working arrays are
    local to ``_next_level`` and ``nodes`` is overwritten in place.
    """
    tokens, vocab_size = stream.tokens, stream.vocab_size
    occurrences = np.bincount(tokens[1:], minlength=vocab_size)
    all_tokens = np.arange(vocab_size, dtype=tokens.dtype)
    never = np.zeros(vocab_size, np.bool_)
    levels = [Grams(np.zeros(vocab_size, np.int32), all_tokens, occurrences, occurrences, never)]
    nodes = tokens.astype(np.int32)  # of the n-gram that ends at each place, -1 where it would cross a document end
    digit_within = stream.has_digit  # whether that n-gram has a digit
    for length in range(2, order + 1):
        if digit_within is not None and stream.has_digit is not None:
            digit_within = stream.has_digit | np.concatenate(([False], digit_within[:-1]))[: len(tokens)]
        longer, num_before = _next_level(stream, nodes, digit_within, length, num_nodes=len(levels[-1].counts))
        counts = np.where(num_before > 0, num_before, levels[-1].occurrences).astype(np.int32)
        levels[-1] = levels[-1]._replace(counts=counts)
        levels.append(longer)
    return levels


def _next_level(
    stream: _Stream, nodes: IntArray, digit_within: BoolArray | None, length: int, *, num_nodes: int
) -> tuple[Grams, IntArray]:
    """The n-grams of ``length`` tokens.

    Args:
        stream: what is counted.
        nodes: of the n-gram of one token less that ends at each place, ``(N,)``; replaced by those of ``length``.
        digit_within: whether the n-gram of ``length`` tokens that ends at a place has a digit, ``(N,)``; or None.
        length: tokens of the n-grams, 2 at least.
        num_nodes: how many n-grams of one token less there are.

    Returns:
        The n-grams, and for each one of a token less how many different tokens were seen before it.
    """
    tokens, is_end = stream.tokens, stream.is_end
    before = np.full(len(tokens), -1, np.int32)  # the node of the n-gram's context
    before[1:] = nodes[:-1] if length == 2 else np.where(is_end[:-1], -1, nodes[:-1])
    in_order = stream.min_documents > 1
    places, starts = _sorted_places(tokens, before, stream.vocab_size, in_order=in_order)
    firsts = places[starts]
    num_before = np.bincount(nodes[firsts], minlength=num_nodes)
    parents, last_tokens = before[firsts], tokens[firsts]
    del before, firsts  # each is up to 64 MB, as many arrays below are
    occurrences = np.diff(starts, append=np.int32(len(places)))
    nodes.fill(-1)
    nodes[places] = np.repeat(np.arange(len(starts), dtype=np.int32), occurrences)
    is_private = np.zeros(len(starts), np.bool_)
    if stream.min_documents > 1 and len(starts):
        document = stream.document[places]
        is_other = np.concatenate(([True], document[1:] != document[:-1]))
        is_other[starts] = True
        is_private |= np.add.reduceat(is_other, starts, dtype=np.int32) < stream.min_documents
        del document, is_other
    if digit_within is not None and len(starts):
        first, last = np.minimum.reduceat(places, starts), np.maximum.reduceat(places, starts)
        is_near = (last - first <= _FAR_APART_TOKENS) & (stream.document[last] == stream.document[first])
        is_private |= digit_within[first] & is_near
    return Grams(parents, last_tokens, occurrences, occurrences, is_private), num_before


def _sorted_places(tokens: TokenIds, before: IntArray, vocab_size: int, *, in_order: bool) -> tuple[IntArray, IntArray]:
    """The places where n-grams end, those of equal ones side by side, and where in this order each n-gram begins.

    Args:
        tokens: the stream, ``(N,)``.
        before: node of the n-gram's other tokens at each place, -1 where there is none, ``(N,)``.
        vocab_size: V.
        in_order: whether the places of each n-gram are to be ascending, which takes longer.
    """
    places = np.flatnonzero(before >= 0).astype(np.int32)
    keys = before[places].astype(np.int64)
    keys *= vocab_size
    keys += tokens[places]
    places = places[np.argsort(keys, kind="stable" if in_order else None)]
    del keys
    is_new = np.ones(len(places), np.bool_)
    for part in (before, tokens):
        sorted_part = part[places]
        is_new[1:] &= sorted_part[1:] == sorted_part[:-1]
    is_new[1:] = ~is_new[1:]
    return places, np.flatnonzero(is_new).astype(np.int32)


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


# ---------------------------------------------------------------------------------------- choosing


def choose_fitting(levels: Sequence[Grams], keep: Sequence[BoolArray], max_bytes: int) -> list[BoolArray]:
    """Choose which n-grams to keep in ``max_bytes``.

    The most frequent are kept, the shorter first of equally frequent ones, and of those the ones in rarer contexts,
    which say more. An n-gram is kept as long as one that continues it. Dropping instead what is frequent but foreseen
    by the shorter context (Seymore and Rosenfeld 1996) was worse: Kneser-Ney's lower orders are made for what the
    higher ones do not have (benchmarks/recipes.md).

    How many n-grams fit depends on how many bytes each takes, which depends on the largest number of followers that an
    n-gram is left with (1, 2 or 4 bytes), which depends on how many fit. So this starts with 1 byte at every level and
    chooses again with wider numbers as long as some do not fit. It ends because widths only grow, and none beyond 4.

    Args:
        levels: the n-grams of each length.
        keep: which of them may be kept, ``(C,)`` each.
        max_bytes: of the stored arrays together.

    Returns:
        Which of the n-grams are kept, ``(C,)`` each; all of length 1.
    """
    best = _best(_worths(levels, keep), max(1, max_bytes // (levels[0].tokens.itemsize + 1)))
    bounds = np.cumsum([len(level.counts) for level in levels[1:]])[:-1]
    widths = [1] * (len(levels) - 1)  # bytes of a number of followers, for n-grams of 1, 2, ... order - 1 tokens
    while True:
        chosen = np.split(_chosen(levels, best, widths, max_bytes), bounds)
        kept = [keep[0], *(may & is_chosen for may, is_chosen in zip(keep[1:], chosen, strict=True))]
        needed = [
            max(width, smallest_dtype(_most_followers(longer, is_kept)).itemsize)
            for width, longer, is_kept in zip(widths, levels[1:], kept[1:], strict=True)
        ]
        if needed == widths:
            return kept
        widths = needed


def _worths(levels: Sequence[Grams], keep: Sequence[BoolArray]) -> Float32Array:
    """What each n-gram of two and more tokens is worth, all lengths in one array; see ``choose_fitting``.

    Occurrences, which are whole numbers, decide. The length takes off less than 1, the rarity of the context less than
    a step of the length; and an n-gram is worth no less than one that continues it.
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
    return np.concatenate(worths)


def _best(worths: Float32Array, num_best: int) -> IndexArray:
    """Places of the most worth, the first of equals first; beyond ``num_best`` some may be missing."""
    least = np.partition(worths, len(worths) - num_best)[len(worths) - num_best] if num_best < len(worths) else -np.inf
    places = np.flatnonzero(worths >= least)
    best: IndexArray = places[np.argsort(-worths[places], kind="stable")]
    return best


def _chosen(levels: Sequence[Grams], best: IndexArray, widths: Sequence[int], max_bytes: int) -> BoolArray:
    """Which n-grams of two and more tokens fit, the best first: all lengths in one array.

    Args:
        levels: the n-grams of each length.
        best: their places in that array, the best first.
        widths: bytes of a number of followers, for n-grams of 1, 2, ... order - 1 tokens.
        max_bytes: of the stored arrays together.
    """
    numbers = [len(level.counts) for level in levels[1:]]
    sizes = np.repeat(np.array(_sizes(levels[0].tokens.itemsize, widths), np.int8), numbers)
    room = max_bytes - 12 * len(levels) - (3 + widths[0]) * len(levels[0].counts)
    chosen = np.zeros(len(sizes), np.bool_)
    chosen[best[: np.searchsorted(np.cumsum(sizes[best]), room, side="right")]] = True
    return chosen


def _sizes(token_bytes: int, widths: Sequence[int]) -> list[int]:
    """The bytes of an n-gram of 2, 3, ... order tokens: token, count, and what was dropped and the number of followers.

    The longest n-grams have no followers and so none that were dropped.
    """
    return [token_bytes + 1 + (1 + width if width else 0) for width in [*widths[1:], 0]]


def _most_followers(longer: Grams, is_kept: BoolArray) -> int:
    """The largest number of kept n-grams that continue the same shorter one."""
    return int(np.bincount(longer.parents[is_kept]).max(initial=0))


def stored_levels(
    levels: Sequence[Grams],
    keep: Sequence[BoolArray],
    vocab_size: int,
    dropped_before: Sequence[IntArray] | None = None,
) -> list[Level]:
    """The levels as they are stored, without the n-grams that are not kept; none is kept without its parent.

    Args:
        levels: the n-grams of each length.
        keep: which of them are kept, ``(C,)`` each.
        vocab_size: V.
        dropped_before: what was counted for followers that are not even in ``levels``, ``(C,)`` each; None: nothing.
    """
    result = []
    dtype = token_dtype(vocab_size)
    for index, level in enumerate(levels):
        first, dropped = np.zeros(0, np.int32), np.zeros(0, np.uint8)
        if index + 1 < len(levels):
            longer, is_kept = levels[index + 1], keep[index + 1]
            first = group_starts(np.bincount(longer.parents[is_kept], minlength=len(level.counts))[keep[index]])
            lost = np.zeros(len(level.counts), np.int64) if dropped_before is None else dropped_before[index].copy()
            np.add.at(lost, longer.parents[~is_kept], longer.counts[~is_kept])  # bincount would count in float64
            dropped = nearest_codes(lost[keep[index]])
        result.append(
            Level(level.tokens[keep[index]].astype(dtype), nearest_codes(level.counts[keep[index]]), first, dropped)
        )
    return result
