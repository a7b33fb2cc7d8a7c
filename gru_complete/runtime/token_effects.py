"""What each token of a vocabulary does to a word: which tokens continue it, and which end it, and where."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gru_complete.arrays import Float64Array, IndexArray
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.wordbreaks import INSIDE, PIECE, End, State, read, word_at_end
from gru_complete.text.tokenizer import DOCUMENT_END

_KEPT_EFFECTS = 1000


class TokenEffects:
    """What each token does to a word in some state, after some remainder.

    Attributes:
        continuing: tokens after which the word has not ended.
        added: what each of them adds to the text.
        states: of the word after each of them.
        keys: what each of them adds to the certain beginning of the word.
        ending: tokens with which the word ends.
        groups: for each of them, which of ``ends`` it causes.
        ends: how many bytes of the text turn out to be past the word, and which bytes of the token belong to it.
        words: the word of each end, if the word began after the state.
    """

    def __init__(self, pieces: PieceIndex, state: State, remainder: bytes) -> None:
        _, longer, stop = pieces.range(remainder)
        tokens = pieces.order[longer:stop].tolist()  # sorted by their bytes
        if not remainder:
            tokens.append(DOCUMENT_END)
        continuing, ending, ends = [], [], []
        for token in tokens:
            added = pieces.pieces[token][len(remainder) :]
            after = read(state, added)
            if isinstance(after, State):
                continuing.append((token, added, after))
            elif isinstance(after, End):
                ending.append(token)
                ends.append((max(0, -after.offset), added[: max(0, after.offset)]))
        depths = _depths([_key(state, added, after) for _, added, after in continuing])
        continuing = [continuing[index] for index in np.argsort(depths, kind="stable")]
        self.continuing: IndexArray = np.array([token for token, _, _ in continuing], np.intp)
        self.added = [added for _, added, _ in continuing]
        self.states = [after for _, _, after in continuing]
        self.keys = [_key(state, added, after) for _, added, after in continuing]
        self.ending: IndexArray = np.array(ending, np.intp)
        self.ends = sorted(set(ends))
        self.words = [word_at_end(state.tail + added, 0) for _, added in self.ends]
        self.groups: IndexArray = np.array([self.ends.index(end) for end in ends], np.intp)
        self._levels = np.searchsorted(np.sort(depths), range(max(depths, default=-1) + 1))

    def heaviest_chain(self, masses: Float64Array) -> float:
        """Bound the part of the masses after each of ``continuing`` that can belong to beginnings of one word."""
        return float(np.maximum.reduceat(masses, self._levels).sum())  # at most one at each depth


class EffectsCache:
    """The effects of a vocabulary's tokens, computed when they are first needed."""

    def __init__(self, pieces: PieceIndex) -> None:
        self._pieces = pieces
        self._kept: dict[tuple[State, bytes], TokenEffects] = {}

    def find(self, state: State, remainder: bytes) -> TokenEffects:
        """Return the effects in a state after a remainder."""
        key = state, remainder
        if key not in self._kept:
            if len(self._kept) >= _KEPT_EFFECTS:
                self._kept.clear()
            self._kept[key] = TokenEffects(self._pieces, state, remainder)
        return self._kept[key]


effects_in = lru_cache(maxsize=2)(EffectsCache)  # computing them takes milliseconds


def _key(state: State, added: bytes, after: State) -> bytes:
    """Return what some more bytes add to the certain beginning of a word; nothing of what only comes before it."""
    if after.place not in (INSIDE, PIECE):
        return b""  # any word may follow
    text = state.tail + added
    text = text[: len(text) - len(after.tail)]
    return text if state.place in (INSIDE, PIECE) else word_at_end(text, 0)


def _depths(texts: Sequence[bytes]) -> list[int]:
    """Count for each text how many of the others it begins with; of equal texts each begins with the one before it."""
    depths = [0] * len(texts)
    path: list[bytes] = []
    for index in sorted(range(len(texts)), key=texts.__getitem__):
        while path and not texts[index].startswith(path[-1]):
            path.pop()
        depths[index] = len(path)
        path.append(texts[index])
    return depths
