r"""Which runs of words occur word for word in a corpus.

A word is what lies between ASCII white space, with its punctuation, byte for byte; the amount and kind of white space
between two words does not matter. Where a script has no spaces, a word reaches to the next space all the same. No run
continues from one document into the next.

Words are compared by a hash of 64 bits. With a corpus of 20 MB (four million words) and a million runs to find, one
such comparison in five million would go wrong by chance.

Shapes: W words of the corpus, Q words of the query (the text whose runs are searched).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.text.tokenizer import DOCUMENT_END

Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]
Positions = np.ndarray[tuple[int], np.dtype[np.intp]]

BETWEEN_DOCUMENTS = b" \0 "
"""What separates documents; no text that can be trained on contains it."""

_WORD = re.compile(rb"\S+")
_SPACES = (9, 10, 11, 12, 13, 32)
_BLOCK_BYTES = 1 << 20
_BLOCK_TOKENS = 1 << 20
_FIRST_WORDS = 8  # of a run: they are searched in the whole corpus, the words after them only where these occur
_MAX_PLACES = 1000
_BYTE_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_WORD_FACTOR = np.uint64(0xD1342543DE82EF95)


class CorpusWords(NamedTuple):
    """The words of a corpus.

    Attributes:
        text: the corpus, its documents joined by ``BETWEEN_DOCUMENTS``.
        starts: where in the text each word begins, ``(W,)``.
        hashes: of the words, ``(W,)``.
    """

    text: bytes
    starts: Positions
    hashes: Hashes

    @classmethod
    def from_text(cls, text: bytes) -> "CorpusWords":
        """Find and hash the words of a text."""
        starts, hashes = _starts_and_hashes(text)
        return cls(text, starts, hashes)

    def word(self, index: int) -> bytes:
        """Return the word at an index."""
        match = _WORD.match(self.text, int(self.starts[index]))
        assert match is not None
        return match[0]


class FollowingWords:
    """Says which words follow a run of words in a corpus.

    Args:
        corpus: the corpus.
        num_words: the length of the run, at least 1.
    """

    def __init__(self, corpus: CorpusWords, num_words: int) -> None:
        self._corpus = corpus
        self._num_words = num_words
        runs = run_hashes(corpus.hashes[:-1], num_words)
        self._order = runs.argsort()
        self._runs = runs[self._order]

    def after(self, words: bytes) -> list[bytes]:
        """Return the different words that follow a run of ``num_words`` words anywhere in the corpus."""
        key = run_hashes(word_hashes(words), self._num_words)
        low, high = self._runs.searchsorted(key, "left").item(), self._runs.searchsorted(key, "right").item()
        if low == high:
            return []
        places = self._order[low:high] + self._num_words
        _, first = np.unique(self._corpus.hashes[places], return_index=True)
        words_found = map(self._corpus.word, places[first].tolist())
        return [word for word in words_found if word != b"\0"]


def decode_streams(streams: Iterable[TokenIds], pieces: Sequence[bytes]) -> bytes:
    """Decode token streams, ``(N,)`` each, as one text with ``BETWEEN_DOCUMENTS`` at the document ends."""
    spelled = [BETWEEN_DOCUMENTS if token == DOCUMENT_END else piece for token, piece in enumerate(pieces)]
    return b"".join(
        b"".join(map(spelled.__getitem__, stream[start : start + _BLOCK_TOKENS].tolist()))
        for stream in streams
        for start in range(0, len(stream), _BLOCK_TOKENS)
    )


def word_hashes(text: bytes) -> Hashes:
    """Return the hash of each word of a text, ``(Q,)``."""
    return _starts_and_hashes(text)[1]


def run_hashes(hashes: Hashes, num_words: int) -> Hashes:
    """Return the hash of each run of ``num_words`` words, ``(Q - num_words + 1,)``; empty if there are fewer words."""
    count = max(0, len(hashes) - num_words + 1)
    runs = np.zeros(count, np.uint64)
    for index in range(num_words):
        runs *= _WORD_FACTOR
        runs += hashes[index : index + count]
    return _scrambled(runs)


def copied_runs(corpus: CorpusWords, query: Hashes, num_words: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Say for each run of ``num_words`` words of a query whether it occurs in the corpus, ``(Q - num_words + 1,)``."""
    wanted, back = np.unique(run_hashes(query, num_words), return_inverse=True)
    is_copied = np.zeros(len(wanted), np.bool_)
    is_copied[_matches(run_hashes(corpus.hashes, num_words), wanted)[1]] = True
    return is_copied[back]


def longest_runs(corpus: CorpusWords, query: Hashes) -> Positions:
    """Return how many words in a row, from each word of a query on, occur in the corpus in a row, ``(Q,)``.

    For example, with the corpus ``a b c d`` and the query ``b c x a b c d``::

        query     b c x a b c d
        result    2 1 0 4 3 2 1

    Runs of up to ``_FIRST_WORDS`` words are found by their hashes. Where that many words occur, each pair of a place in
    the query and a place in the corpus is followed word by word, all pairs side by side, until they differ. A run that
    occurs in the corpus more than ``_MAX_PLACES`` times is followed from the first of them only.
    """
    lengths = np.zeros(len(query), np.intp)
    for num_words in range(1, min(_FIRST_WORDS, len(query)) + 1):
        copied = copied_runs(corpus, query, num_words)
        lengths[: len(copied)][copied] = num_words
    starts = np.flatnonzero(lengths == _FIRST_WORDS)
    wanted, back = np.unique(run_hashes(query, _FIRST_WORDS)[starts], return_inverse=True)
    places, which = _first_matches(*_matches(run_hashes(corpus.hashes, _FIRST_WORDS), wanted))
    # All pairs of a place in the corpus and a place in the query with the same first words: theirs[i], ours[i].
    counts, by_run = np.bincount(back, minlength=len(wanted)), back.argsort(kind="stable")
    repeats = counts[which]
    numbers = np.arange(repeats.sum()) - np.repeat(repeats.cumsum() - repeats, repeats)
    ours = starts[by_run[np.repeat((counts.cumsum() - counts)[which], repeats) + numbers]]
    theirs = np.repeat(places, repeats)
    length = _FIRST_WORDS
    while len(ours):
        has_next = (ours + length < len(query)) & (theirs + length < len(corpus.hashes))
        ours, theirs = ours[has_next], theirs[has_next]
        is_same = query[ours + length] == corpus.hashes[theirs + length]
        ours, theirs = ours[is_same], theirs[is_same]
        length += 1
        lengths[ours] = length
    return lengths


def _first_matches(places: Positions, which: Positions) -> tuple[Positions, Positions]:
    """Leave out the places of each run after the first ``_MAX_PLACES``."""
    order = which.argsort(kind="stable")
    counts = np.bincount(which)
    numbers = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
    kept = order[numbers < _MAX_PLACES]
    return places[kept], which[kept]


def _matches(runs: Hashes, wanted: Hashes) -> tuple[Positions, Positions]:
    """Return the places of the runs that are wanted (ascending, without duplicates), and which of those each is."""
    if not len(wanted):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    which = wanted.searchsorted(runs)
    which[which == len(wanted)] = 0
    places = np.flatnonzero(wanted[which] == runs)
    return places, which[places]


def _starts_and_hashes(text: bytes) -> tuple[Positions, Hashes]:
    """Where each word begins, and its hash; in blocks that end between words, so that working memory is bounded."""
    starts, hashes = [], []
    start = 0
    while start < len(text):
        end = start + _BLOCK_BYTES
        if end < len(text):
            space = re.compile(rb"\s").search(text, end)  # the block ends with a word
            end = len(text) if space is None else space.start()
        first, values = _block_starts_and_hashes(text[start:end])
        starts.append(first + start)
        hashes.append(values)
        start = end
    if not starts:
        return np.zeros(0, np.intp), np.zeros(0, np.uint64)
    return np.concatenate(starts), np.concatenate(hashes)


def _block_starts_and_hashes(text: bytes) -> tuple[Positions, Hashes]:
    """The same of one block: a word's hash is the sum of a value for each byte times a power for its position."""
    codes = np.frombuffer(text, np.uint8)
    in_word = _IN_WORD[codes]
    is_first = in_word.copy()
    is_first[1:] &= ~in_word[:-1]
    starts: Positions = is_first.nonzero()[0]
    if not len(starts):
        return starts, np.zeros(0, np.uint64)
    codes, begins = codes[starts[0] :], starts - starts[0]
    offsets = np.arange(len(codes)) - np.repeat(
        begins, np.diff(begins, append=len(codes))
    )  # within a word, or after it
    powers = np.full(int(offsets.max()) + 1, _BYTE_FACTOR)
    powers[0] = 1
    values = _BYTE_VALUES[codes] * powers.cumprod()[offsets]
    return starts, _scrambled(np.add.reduceat(values, begins))


def _scrambled(values: Hashes) -> Hashes:
    """Spread the bits in which values differ over all 64 (the last steps of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: Hashes = values ^ (values >> np.uint64(31))
    return scrambled


_IN_WORD = np.array([byte not in _SPACES for byte in range(256)])
_BYTE_VALUES = np.where(_IN_WORD, _scrambled(np.arange(1, 257, dtype=np.uint64)), np.uint64(0))
