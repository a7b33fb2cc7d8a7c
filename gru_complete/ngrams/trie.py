"""The n-grams of a model as they are stored: a trie of sorted arrays, and the checks that a stranger's must pass.

Level k of the trie holds the n-grams of k tokens, sorted by (their first k - 1 tokens, their last token), so that the
followers of a context lie side by side. Level 1 has all V tokens. A *node* is the index of an n-gram in its level.

A count takes one byte: up to 128 the count itself, beyond that a step of 9 %, up to millions. ``VALUES`` turns such a
*code* into the count that it stands for.

Shapes: V vocab_size, C n-grams of one level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.arrays import Float32Array, Float64Array, token_dtype
from gru_complete.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_ORDER = 8
MIN_WEIGHT = 1e-18
"""The least weight of a shorter context, far below what counts: it keeps a probability from becoming 0 by underflow."""
NUM_CODES = 256
_MAX_ENTRIES = 1 << 28
_MIN_DISCOUNT = 0.01
_EXACT_COUNTS = 128
_GROWTH = 1.09

CODES = np.arange(NUM_CODES)
VALUES: Float64Array = np.where(
    CODES <= _EXACT_COUNTS, CODES, np.round(_EXACT_COUNTS * _GROWTH ** np.maximum(0.0, CODES - _EXACT_COUNTS))
)
"""The count that each code stands for, ``(256,)``; whole numbers, so that sums of them are exact."""


class Level(NamedTuple):
    """The n-grams of one length, sorted.

    Attributes:
        tokens: the last token of each, ``(C,)``; at level 1, all tokens.
        counts: the code of each count, ``(C,)``.
        first: where the followers of each begin in the next level, and where those of the last one end, ``(C + 1,)``;
            empty at the last level.
        dropped: the code of what was counted for followers that are not stored, ``(C,)``; empty at the last level.
    """

    tokens: NDArray[np.unsignedinteger[Any]]
    counts: NDArray[np.uint8]
    first: NDArray[np.int32]
    dropped: NDArray[np.uint8]


class Trie(NamedTuple):
    """All that is stored of an n-gram model.

    Attributes:
        levels: the n-grams of 1, 2, ... order tokens.
        discounts: what Kneser-Ney takes from counts of 1, of 2, and of 3 or more, ``(order, 3)``.
        occurrences: the code of how often each token was seen, ``(V,)``; None in models of older versions.
    """

    levels: Sequence[Level]
    discounts: Float32Array
    occurrences: NDArray[np.uint8] | None = None

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of ``ngrams.safetensors`` by name; ``from_arrays`` reads them back."""
        arrays: dict[str, NDArray[Any]] = {"discounts": self.discounts}
        if self.occurrences is not None:
            arrays["occurrences"] = self.occurrences
        for number, level in enumerate(self.levels, start=1):
            arrays[f"counts.{number}"] = level.counts
            if number > 1:
                arrays[f"tokens.{number}"] = level.tokens
            if number < len(self.levels):
                sizes = np.diff(level.first)
                arrays[f"children.{number}"] = sizes.astype(smallest_dtype(int(sizes.max(initial=0))))
                if level.dropped.any():
                    arrays[f"dropped.{number}"] = level.dropped
        return arrays

    def occurrences_after(self, depth: int, node: int) -> Float64Array:
        """How often each stored follower of a context occurs after it, in their order.

        Below the highest order, what is stored is Kneser-Ney's count of the different tokens before an n-gram. Its
        occurrences are those of the n-grams that continue it. They are too few where those were dropped: then their
        counts stand for them, and an n-gram occurs at least as often as it counts.

        Args:
            depth: tokens in the context, less one.
            node: the context.
        """
        levels = self.levels
        spans = [(node, node + 1)]  # at each level, the n-grams that begin with the context
        for level in levels[depth:-1]:
            start, stop = spans[-1]
            spans.append((int(level.first[start]), int(level.first[stop])))
        start, stop = spans.pop()
        occurrences = VALUES[levels[-1].counts[start:stop]]
        for level, (start, stop) in zip(levels[-2:depth:-1], spans[:0:-1], strict=True):
            bounds = level.first[start : stop + 1] - level.first[start]
            sums = np.concatenate(([0.0], occurrences.cumsum()))
            continued = sums[bounds[1:]] - sums[bounds[:-1]] + VALUES[level.dropped[start:stop]]
            occurrences = np.maximum(VALUES[level.counts[start:stop]], continued)
        return occurrences

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], vocab_size: int) -> Trie:
        """Use arrays as they are, after checking all that a lookup relies on; they may come from a stranger.

        Raises:
            ModelError: a name, shape, type or value is not what ``to_arrays`` gives.
        """
        rest = dict(arrays)
        discounts = _pop_discounts(rest)
        levels: list[Level] = []
        for number in range(1, len(discounts) + 1):
            levels.append(_pop_level(rest, number, levels, vocab_size, is_last=number == len(discounts)))
        occurrences = _pop_array(rest, "occurrences", ("uint8",), vocab_size) if "occurrences" in rest else None
        if rest:
            raise ModelError(f"the n-gram model has the unknown array {min(rest)[:60]!r}")
        return cls(levels, discounts, occurrences)


def nearest_codes(counts: NDArray[Any]) -> NDArray[np.uint8]:
    """The code of the nearest value for each count."""
    return np.searchsorted((VALUES[1:] + VALUES[:-1]) / 2, counts, side="left").astype(np.uint8)


def group_starts(sizes: NDArray[Any]) -> NDArray[np.int32]:
    """Where each of C groups that lie side by side begins, and where the last one ends, ``(C + 1,)``."""
    starts = np.zeros(len(sizes) + 1, np.int32)
    starts[1:] = sizes  # faster than to let cumsum convert them
    return np.cumsum(starts, out=starts)


def smallest_dtype(largest: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds numbers up to this one."""
    return np.dtype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32)


def _pop_discounts(arrays: dict[str, NDArray[Any]]) -> Float32Array:
    """Remove and check the discounts, whose number says the order."""
    discounts = arrays.pop("discounts", None)
    if discounts is None or discounts.dtype != np.float32 or discounts.ndim != 2 or discounts.shape[1] != 3:
        raise ModelError("the n-gram model has no discounts of three per order")
    if not 1 <= len(discounts) <= MAX_ORDER:
        raise ModelError(f"the n-gram model has the order {len(discounts)}, not one from 1 to {MAX_ORDER}")
    if not bool(((discounts >= _MIN_DISCOUNT) & (discounts < [1, 2, 3])).all()):
        raise ModelError("the n-gram model has a discount that is not between 0 and the count")
    return discounts


def _pop_level(
    arrays: dict[str, NDArray[Any]], number: int, levels: Sequence[Level], vocab_size: int, *, is_last: bool
) -> Level:
    """Remove and check the arrays of level ``number``, given the levels before it."""
    size = int(levels[-1].first[-1]) if levels else vocab_size
    counts = _pop_array(arrays, f"counts.{number}", ("uint8",), size)
    tokens: NDArray[Any] = np.arange(vocab_size, dtype=np.uint32)
    if levels:
        if not counts.all():
            raise ModelError(f"counts.{number} of the n-gram model has a zero")
        tokens = _pop_array(arrays, f"tokens.{number}", (token_dtype(vocab_size).name,), size)
        if not _is_ascending(tokens, levels[-1].first, vocab_size):
            raise ModelError(f"tokens.{number} of the n-gram model is not in order")
    first, dropped = np.zeros(0, np.int32), np.zeros(0, np.uint8)
    if not is_last:
        children = _pop_array(arrays, f"children.{number}", ("uint8", "uint16", "uint32"), size)
        dropped = np.zeros(size, np.uint8)
        if f"dropped.{number}" in arrays:
            dropped = _pop_array(arrays, f"dropped.{number}", ("uint8",), size)
        num_children = int(children.sum(dtype=np.uint64))
        if num_children > _MAX_ENTRIES:
            raise ModelError(f"the n-gram model has {num_children} entries at level {number + 1}")
        first = group_starts(children)
    return Level(tokens, counts, first, dropped)


def _pop_array(arrays: dict[str, NDArray[Any]], name: str, dtypes: Sequence[str], size: int) -> NDArray[Any]:
    """Remove an array of this size and one of these types."""
    array = arrays.pop(name, None)
    if array is None or array.dtype.name not in dtypes or array.shape != (size,):
        raise ModelError(f"the n-gram model has no {name} of {size} {' or '.join(dtypes)}")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _is_ascending(tokens: NDArray[Any], starts: NDArray[np.int32], vocab_size: int) -> bool:
    """Whether the tokens of each group are different ones below ``vocab_size`` in ascending order."""
    if not len(tokens):
        return True
    is_fine = np.ones(len(tokens) + 1, np.bool_)
    np.greater(tokens[1:], tokens[:-1], out=is_fine[1:-1])
    is_fine[starts] = True  # the first of a group may be anything
    return bool(is_fine.all()) and int(tokens.max()) < vocab_size
