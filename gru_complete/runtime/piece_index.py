"""The vocabulary's pieces by their bytes: which pieces may begin, continue or end a text.

Shapes: V vocab_size, D distinct texts that a first token can add.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import IndexArray

END_BYTE = 256
"""The index of the document end in an array over the next bytes."""

_MAX_PREFIXES = 1 << 16  # whose ranges are kept


class Endings(NamedTuple):
    """What follows a prefix in the tokens that begin with it and are longer, numbered in the order of the index.

    Attributes:
        whole: the numbers of the tokens whose ending is itself a piece.
        places: where that piece is among the distinct pieces.
        partial: the numbers of the other tokens.
        texts: their endings.
    """

    whole: IndexArray
    places: IndexArray
    partial: IndexArray
    texts: list[bytes]


class PieceIndex:
    """The vocabulary as sorted byte strings: pieces that begin with the same bytes are neighbours.

    Args:
        pieces: the bytes of each token; b"" for the document end, which is not sorted with the others.

    Attributes:
        pieces: the same.
        order: the tokens, sorted by their bytes, ``(V - 1,)``.
        longest: the number of bytes of the longest piece.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        tokens = sorted((token for token in range(len(pieces)) if pieces[token]), key=pieces.__getitem__)
        self.pieces = pieces
        self.order: IndexArray = np.array(tokens, np.intp)
        self._sorted = [pieces[token] for token in tokens]
        self.longest = max(map(len, pieces))
        self._ranges: dict[bytes, tuple[int, int, int]] = {}
        self._next_bytes: dict[bytes, IndexArray] = {}
        self._endings: dict[bytes, Endings] = {}

    def range(self, prefix: bytes) -> tuple[int, int, int]:
        """Return (start, longer, stop): ``order[start:longer]`` are the prefix, ``order[longer:stop]`` continue it."""
        ranges = self._ranges.get(prefix)
        if ranges is None:
            if len(prefix) > self.longest:
                return 0, 0, 0
            pieces = self._sorted
            start = longer = bisect_left(pieces, prefix)
            while longer < len(pieces) and pieces[longer] == prefix:
                longer += 1
            stop = longer
            if longer < len(pieces) and pieces[longer].startswith(prefix):
                stop = bisect_left(pieces, True, longer, key=lambda piece: not piece.startswith(prefix))
            if len(self._ranges) >= _MAX_PREFIXES:
                self._ranges.clear()
            ranges = self._ranges[prefix] = start, longer, stop
        return ranges

    def beginning(self, text: bytes) -> list[tuple[int, int, int]]:
        """Return the ranges of the text's prefixes of 1, 2, ... bytes, up to the first that begins no piece."""
        ranges = []
        for size in range(1, len(text) + 1):
            start, longer, stop = self.range(text[:size])
            if start == stop:
                break
            ranges.append((start, longer, stop))
        return ranges

    def tokens(self, piece: bytes) -> list[int]:
        """Return the tokens with exactly these bytes: none, one, or a byte and the piece of the same character."""
        start, longer, _ = self.range(piece)
        tokens: list[int] = self.order[start:longer].tolist()
        return tokens

    def next_bytes(self, prefix: bytes) -> IndexArray:
        """Return the byte that follows the prefix in each token that begins with it and is longer."""
        next_bytes = self._next_bytes.get(prefix)
        if next_bytes is None:
            _, longer, stop = self.range(prefix)
            values = [piece[len(prefix)] for piece in self._sorted[longer:stop]]
            next_bytes = self._next_bytes[prefix] = np.array(values, np.intp)
        return next_bytes

    def endings(self, prefix: bytes) -> Endings:
        """Return what follows the prefix in each token that begins with it and is longer."""
        endings = self._endings.get(prefix)
        if endings is None:
            _, longer, stop = self.range(prefix)
            texts = [piece[len(prefix) :] for piece in self._sorted[longer:stop]]
            places = [self.place_of.get(text, -1) for text in texts]
            whole = [number for number, place in enumerate(places) if place >= 0]
            partial = [number for number, place in enumerate(places) if place < 0]
            endings = self._endings[prefix] = Endings(
                np.array(whole, np.intp),
                np.array([places[number] for number in whole], np.intp),
                np.array(partial, np.intp),
                [texts[number] for number in partial],
            )
        return endings

    @cached_property
    def distinct(self) -> list[bytes]:
        """The different byte strings, sorted; the first is b"", the document end."""
        return sorted(self.place_of)

    @cached_property
    def place_of(self) -> dict[bytes, int]:
        """Where each byte string is among ``distinct``."""
        return {piece: place for place, piece in enumerate(sorted({b"", *self.pieces}))}

    @cached_property
    def places_of(self) -> dict[bytes, list[int]]:
        """The same places as lists of length 1, as ``repeats.repeating`` takes them."""
        return {piece: [place] for piece, place in self.place_of.items()}

    @cached_property
    def ordered_place(self) -> IndexArray:
        """Where the bytes of each token of ``order`` are among ``distinct``, ``(V - 1,)``."""
        return self.place[self.order]

    @cached_property
    def place(self) -> IndexArray:
        """Where the bytes of each token are among ``distinct``, ``(V,)``."""
        return np.array([self.place_of[piece] for piece in self.pieces], np.intp)
