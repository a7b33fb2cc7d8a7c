"""One n-gram model of two texts, from the n-gram model of each.

What was counted is added up, and where Kneser-Ney counts the different tokens before an n-gram, those that are stored
before it in both models are counted once. So the sum is exact where no n-gram was dropped; of those that were, only
their number is known.

Shapes: V vocab_size, C n-grams of one level of the union.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.arrays import IntArray
from gru_complete.ngrams.building import Grams, choose_fitting, stored_levels
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.trie import VALUES, Level, Trie, nearest_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Union(NamedTuple):
    """The n-grams of one length that either model has, sorted.

    Attributes:
        parents: the node of each one's context in the level below, ``(C,)``.
        tokens: the last token of each, ``(C,)``.
        counts: of both models together, ``(C,)``.
        dropped: what both models counted for followers that are not stored, ``(C,)``.
        places: of the n-grams of each model among them.
    """

    parents: IntArray
    tokens: NDArray[np.unsignedinteger[Any]]
    counts: IntArray
    dropped: IntArray
    places: tuple[IntArray, IntArray]

    @property
    def in_both(self) -> IntArray:
        """The places of those that both models have."""
        return np.intersect1d(*self.places, assume_unique=True)


def merge_ngrams(first: NGrams, second: NGrams, *, max_bytes: int) -> NGrams:
    """An n-gram model of two texts.

    Args:
        first: the n-gram model of one.
        second: that of the other, of the same vocabulary and order.
        max_bytes: drop the n-grams that matter least until the stored arrays are no larger.
    """
    tries, vocab_size = (first.trie, second.trie), first.vocab_size
    unions = _united(tries, vocab_size)
    for shorter, shared in zip(unions, _shared_suffixes(unions, vocab_size), strict=False):
        shorter.counts[:] -= np.bincount(shared, minlength=len(shorter.counts))
    levels = _as_grams(unions)
    keep = [~level.is_private for level in levels]
    if len(levels) > 1:
        keep = choose_fitting(levels, keep, max_bytes)
    sizes = [sum(len(level.counts) for level in trie.levels) for trie in tries]
    discounts = np.average([trie.discounts for trie in tries], axis=0, weights=sizes).astype(np.float32)
    occurrences = sum(VALUES[trie.levels[0].counts if trie.occurrences is None else trie.occurrences] for trie in tries)
    dropped = [union.dropped for union in unions]
    return NGrams(
        Trie(stored_levels(levels, keep, vocab_size, dropped), discounts, nearest_codes(np.asarray(occurrences)))
    )


def _united(tries: tuple[Trie, Trie], vocab_size: int) -> list[_Union]:
    """The n-grams of both, level by level, with their counts added up."""
    every = np.arange(vocab_size)
    levels = (tries[0].levels[0], tries[1].levels[0])
    unions = [_added(every * 0, levels[0].tokens, levels, (every, every))]
    for number in range(1, len(tries[0].levels)):
        levels = (tries[0].levels[number], tries[1].levels[number])
        keys = []
        for trie, level, places in zip(tries, levels, unions[-1].places, strict=True):
            parents = np.repeat(places, np.diff(trie.levels[number - 1].first))
            keys.append(parents.astype(np.int64) * vocab_size + level.tokens)
        both = np.union1d(*keys)
        tokens = (both % vocab_size).astype(levels[0].tokens.dtype)
        found = (np.searchsorted(both, keys[0]), np.searchsorted(both, keys[1]))
        unions.append(_added(both // vocab_size, tokens, levels, found))
    return unions


def _added(
    parents: IntArray,
    tokens: NDArray[np.unsignedinteger[Any]],
    levels: tuple[Level, Level],
    places: tuple[IntArray, IntArray],
) -> _Union:
    """A level of the union, given its n-grams and where those of each model are."""
    counts, dropped = np.zeros((2, len(tokens)), np.int64)
    for level, place in zip(levels, places, strict=True):
        counts[place] += VALUES[level.counts].astype(np.int64)
        if len(level.dropped):
            dropped[place] += VALUES[level.dropped].astype(np.int64)
    return _Union(parents, tokens, counts, dropped, places)


def _shared_suffixes(unions: Sequence[_Union], vocab_size: int) -> list[IntArray]:
    """For each level but the last: of the n-grams that continue to the left in the same way in both models, the nodes.

    A node is there as often as there are such tokens before it.
    """
    shared: list[IntArray] = []
    suffixes = np.zeros(vocab_size, np.int64)  # the node of each n-gram of a level without its first token, or -1
    for number, longer in enumerate(unions[1:]):
        before = suffixes[longer.parents]
        if number == 0:
            suffixes = longer.tokens.astype(np.int64)
        else:
            shorter = unions[number]
            keys = shorter.parents * vocab_size + shorter.tokens
            wanted = before * vocab_size + longer.tokens
            found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            suffixes = np.where((before >= 0) & (keys[found] == wanted), found, -1)
        of_both = suffixes[longer.in_both]
        shared.append(of_both[of_both >= 0])
    return shared


def _as_grams(unions: Sequence[_Union]) -> list[Grams]:
    """The levels as they are when they have been counted, with what is known of the occurrences."""
    levels: list[Grams] = []
    for union in reversed(unions):
        occurrences = union.counts
        if levels:
            longer = levels[0]
            continued = np.bincount(longer.parents, longer.occurrences, minlength=len(union.counts)) + union.dropped
            occurrences = np.maximum(union.counts, continued.astype(np.int64))
        never = np.zeros(len(union.counts), np.bool_)
        levels.insert(0, Grams(union.parents, union.tokens, occurrences, union.counts, never))
    return levels
