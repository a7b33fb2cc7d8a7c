r"""Which runs of words stand word for word in a corpus.

A word is what stands between ASCII white space, with its punctuation, byte for byte; how much white space there is
between two words, and of which kind, does not matter. Where a script has no spaces, a word is as long as the text up to
the next one. No run goes on from one document into the next.

Words are compared by a hash of 64 bits. Of a corpus of 20 MB (four million words) and a million runs looked for, one
of five million such comparisons of everything would go wrong by chance.

Shapes: W words of the corpus, Q words of a text that is looked for.
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
"""As a word, it is in no text that can be trained on."""

_WORD = re.compile(rb"\S+")
_SPACES = (9, 10, 11, 12, 13, 32)
_BLOCK_BYTES = 1 << 20
_BLOCK_TOKENS = 1 << 20
_FIRST_WORDS = 8  # of a run: so many are looked for in the whole corpus, the rest only where these stand
_MAX_PLACES = 1000
_OF_BYTES = np.uint64(0x9E3779B97F4A7C15)
_OF_WORDS = np.uint64(0xD1342543DE82EF95)


class CorpusWords(NamedTuple):
    """The words of a corpus.

    Attributes:
        text: the corpus, its documents with ``BETWEEN_DOCUMENTS`` between them.
        starts: where in it each word begins, ``(W,)``.
        hashes: of the words, ``(W,)``.
    """

    text: bytes
    starts: Positions
    hashes: Hashes

    @classmethod
    def from_text(cls, text: bytes) -> "CorpusWords":
        """Make them of a text."""
        starts, hashes = _starts_and_hashes(text)
        return cls(text, starts, hashes)

    def word(self, index: int) -> bytes:
        """Return a word."""
        match = _WORD.match(self.text, int(self.starts[index]))
        assert match is not None
        return match[0]


class FollowingWords:
    """Says which words follow some words in a corpus.

    Args:
        corpus: the corpus.
        num_words: how many words are asked for, at least 1.
    """

    def __init__(self, corpus: CorpusWords, num_words: int) -> None:
        self._corpus = corpus
        self._num_words = num_words
        runs = run_hashes(corpus.hashes[:-1], num_words)
        self._order = runs.argsort()
        self._runs = runs[self._order]

    def after(self, words: bytes) -> list[bytes]:
        """Return the different words that follow these words, ``num_words`` of them, anywhere in the corpus."""
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
    """Return the hash of each run of so many words, ``(Q - num_words + 1,)``; none if there are fewer words."""
    count = max(0, len(hashes) - num_words + 1)
    runs = np.zeros(count, np.uint64)
    for index in range(num_words):
        runs *= _OF_WORDS
        runs += hashes[index : index + count]
    return _mixed(runs)


def copied_runs(corpus: CorpusWords, text: Hashes, num_words: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Say of each run of so many words of a text whether it stands in the corpus, ``(Q - num_words + 1,)``."""
    wanted, back = np.unique(run_hashes(text, num_words), return_inverse=True)
    found = np.zeros(len(wanted), np.bool_)
    found[_matches(run_hashes(corpus.hashes, num_words), wanted)[1]] = True
    return found[back]


def longest_runs(corpus: CorpusWords, text: Hashes) -> Positions:
    """Return how many words from each word of a text on stand in the corpus in a row, ``(Q,)``.

    What stands in the corpus more than ``_MAX_PLACES`` times is followed at the first ones only.
    """
    lengths = np.zeros(len(text), np.intp)
    for num_words in range(1, min(_FIRST_WORDS, len(text)) + 1):
        copied = copied_runs(corpus, text, num_words)
        lengths[: len(copied)][copied] = num_words
    starts = np.flatnonzero(lengths == _FIRST_WORDS)
    wanted, back = np.unique(run_hashes(text, _FIRST_WORDS)[starts], return_inverse=True)
    places, which = _first_matches(*_matches(run_hashes(corpus.hashes, _FIRST_WORDS), wanted))
    # All pairs of a place in the corpus and a place in the text with the same first words go on side by side.
    counts, by_run = np.bincount(back, minlength=len(wanted)), back.argsort(kind="stable")
    repeats = counts[which]
    numbers = np.arange(repeats.sum()) - np.repeat(repeats.cumsum() - repeats, repeats)
    ours = starts[by_run[np.repeat((counts.cumsum() - counts)[which], repeats) + numbers]]
    theirs = np.repeat(places, repeats)
    length = _FIRST_WORDS
    while len(ours):
        goes_on = (ours + length < len(text)) & (theirs + length < len(corpus.hashes))
        ours, theirs = ours[goes_on], theirs[goes_on]
        goes_on = text[ours + length] == corpus.hashes[theirs + length]
        ours, theirs = ours[goes_on], theirs[goes_on]
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
    """Return where in the runs something wanted (ascending, no two the same) stands, and which of it."""
    if not len(wanted):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    which = wanted.searchsorted(runs)
    which[which == len(wanted)] = 0
    places = np.flatnonzero(wanted[which] == runs)
    return places, which[places]


def _starts_and_hashes(text: bytes) -> tuple[Positions, Hashes]:
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
    codes = np.frombuffer(text, np.uint8)
    in_word = _IN_WORD[codes]
    begins = in_word.copy()
    begins[1:] &= ~in_word[:-1]
    starts: Positions = begins.nonzero()[0]
    if not len(starts):
        return starts, np.zeros(0, np.uint64)
    codes, ours = codes[starts[0] :], starts - starts[0]
    offsets = np.arange(len(codes)) - np.repeat(ours, np.diff(ours, append=len(codes)))  # within a word, or after it
    powers = np.full(int(offsets.max()) + 1, _OF_BYTES)
    powers[0] = 1
    values = _OF_BYTE[codes] * powers.cumprod()[offsets]
    return starts, _mixed(np.add.reduceat(values, ours))


def _mixed(values: Hashes) -> Hashes:
    """Spread what the values differ in over all bits (the end of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


_IN_WORD = np.array([byte not in _SPACES for byte in range(256)])
_OF_BYTE = np.where(_IN_WORD, _mixed(np.arange(1, 257, dtype=np.uint64)), np.uint64(0))
