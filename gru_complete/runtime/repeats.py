"""What would repeat the text: greedy decoding runs in circles, which a rule against repeated phrases prevents.

The most likely text after a phrase is often what came after it the last time. Sampling leaves such a circle by chance;
greedy completion and beam search do not (Holtzman et al. 2020, arXiv:1904.09751, section 3). There, what followed the
same words before must not follow them again. This is the rule of Paulus et al. 2018 (arXiv:1705.04304, section 2.5: no
trigram twice) for text instead of tokens, so that another segmentation cannot evade it: no n words in a row occur
twice. Phrases of a few short words ("of the") do not count, a name may be repeated, and text without spaces is measured
by its length alone.

Only the last characters of the prompt count, as if we had written them. Anything else in it may be said once more: a
refrain, a line of code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

LETTERS_PER_WORD = 4
"""Words that are shorter on average do not count alone: more of them must be the same."""
LETTERS_WITHOUT_SPACES = 8
"""Letters that count as a word where there are no spaces."""
LOOKS_BACK = 4096
"""Bytes within which words must not repeat; a longer completion may return to its words."""

_WORD = re.compile(rb"\S+")
_NEXT_WORD = re.compile(rb"(\s*)\S*")
_MAX_WORD = 64  # bytes of a word that are compared, as in text/tokenizer.py


def repeating(text: bytes, words: int, index: Mapping[bytes, Sequence[int]]) -> list[int]:
    """Find what may not come next: everything that begins a word which would complete a repetition.

    Args:
        text: the last characters of the prompt and everything after it; it ends with a whole character.
        words: this many words in a row may not occur twice, at least 2; 0 allows everything.
        index: where each byte string that may come next is, for instance the tokens of a vocabulary.

    Returns:
        The places of the byte strings that would repeat, ascending.
    """
    if not words:
        return []
    text = text[-LOOKS_BACK:]
    before = max(1, words - 1)
    if text.find(text[-before * LETTERS_PER_WORD :], 0, -1) < 0:  # no phrase is shorter; nearly all calls end here
        return []
    places_found: set[int] = set()
    for phrase, needs_space in _phrases(text, before):
        for end in _earlier_ends(text, phrase):
            match = _NEXT_WORD.match(text, end)
            assert match is not None
            if needs_space and not match[1]:
                continue  # there, the phrase ends within a word
            word = match[0][: len(match[1]) + _MAX_WORD]
            for length in range(len(match[1]) + 1, len(word) + 1):
                places_found.update(index.get(word[:length], ()))
    return sorted(places_found)


def places(texts: Sequence[bytes]) -> dict[bytes, list[int]]:
    """Return where each byte string is: the index that ``repeating`` takes."""
    index: dict[bytes, list[int]] = {}
    for place, text in enumerate(texts):
        index.setdefault(text, []).append(place)
    return index


def _phrases(text: bytes, words: int) -> Iterator[tuple[bytes, bool]]:
    """Yield ends of the text that must not have the same continuation again, and whether white space must come next."""
    if phrase := _last_words(text, words):
        yield phrase, not phrase[-1:].isspace()
    if phrase := _last_letters(text, words * LETTERS_WITHOUT_SPACES):
        yield phrase, False


def _last_words(text: bytes, words: int) -> bytes:
    """Return the last words, with white space after them, more if they are short; b"" if there are too few."""
    text = text[-words * _MAX_WORD :]
    letters = 0
    for count, match in enumerate(reversed(list(_WORD.finditer(text))), start=1):
        letters += len(match[0].decode(errors="ignore"))
        if count >= words and letters >= words * LETTERS_PER_WORD:
            return text[match.start() :]
    return b""


def _last_letters(text: bytes, letters: int) -> bytes:
    """Return the last ``letters`` characters; b"" if there are fewer since the last white space."""
    run = text[-4 * letters :]
    if not run or run[-1:].isspace():
        return b""
    run = run.split()[-1]
    last = run.decode(errors="ignore")[-letters:]
    return last.encode() if len(last) == letters else b""


def _earlier_ends(text: bytes, phrase: bytes) -> Iterator[int]:
    """Yield where the text's last phrase ends wherever else it occurs."""
    start = text.find(phrase, 0, -1)
    while start >= 0:
        yield start + len(phrase)
        start = text.find(phrase, start + 1, -1)
