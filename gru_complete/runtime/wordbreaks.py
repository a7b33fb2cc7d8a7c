"""Where a word begins and ends, in any language, while its text arrives in pieces of bytes.

A word is a run of letters, marks, digits and underscores; an apostrophe, a hyphen or a joiner between two of them
belongs to it ("don't", "well-known"). Scripts written without spaces (Chinese, Japanese, Thai, ...) do not mark words:
there each piece that a model writes counts as a word. Bytes that are not UTF-8 belong to no word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

BEFORE, WORD_PREFIX, INSIDE, PIECE = range(4)
"""Places in a text: see ``State``. They also name the kinds of characters: INSIDE for those of a word of a spaced
script, PIECE for those of a script without spaces, BEFORE for all others."""

# Apostrophes, hyphens, the soft hyphen, Catalan's middle dot, Hebrew's marks, the joiners of Indic and Persian.
_JOINERS = frozenset("'’-‐‑\u00ad·\u05f3\u05f4\u200c\u200d")
_UNSPACED = (  # first and last code points of blocks whose scripts do not put spaces between words
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x3005, 0x3007),  # marks among Han characters
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),  # Myanmar extensions
    (0xAA60, 0xAADF),  # and Tai Viet
    (0xF900, 0xFAFF),  # Han
    (0xFF66, 0xFF9F),  # Katakana of half the width
    (0x1AFF0, 0x1B16F),  # Kana extensions
    (0x20000, 0x3FFFF),  # Han
)


class State(NamedTuple):
    """Where a text that arrives in pieces is, relative to words.

    Attributes:
        place: BEFORE a word; INSIDE one; in a PIECE of a script without spaces; or after a WORD_PREFIX: the given text
            ends with a word and then something that continues it only if more of the word follows, such as a hyphen.
            Otherwise the word ended in the given text.
        tail: the last bytes, which may turn out to be past the word's end: a joiner, or the first bytes of a character.
    """

    place: int
    tail: bytes


class End(NamedTuple):
    """A word has ended.

    Attributes:
        offset: where, in bytes from the beginning of the latest data; negative if within the tail before it.
    """

    offset: int


def word_prefix(text: bytes) -> tuple[bytes, State]:
    """Return the word that the end of a text begins, b"" if it begins none, and the state there."""
    state, start = State(BEFORE, b""), len(text)
    position = 0
    place = BEFORE
    end = 0
    while position < len(text):
        character, size = _character(text, position)
        if character is None:  # the text ends inside it
            break
        kind = _kind(character)
        if kind == INSIDE:
            if place != INSIDE:
                place, start = INSIDE, position
            end = position + size
        elif not (place == INSIDE and character in _JOINERS and end == position):
            place = BEFORE
        position += size
    if place != INSIDE:
        return b"", State(BEFORE, text[position:])
    tail = text[end:]
    state = State(WORD_PREFIX if tail else INSIDE, tail)
    return text[start:], state


def read(state: State, data: bytes) -> State | End | None:
    """Read what follows, character by character.

    The state machine, by what comes next::

                       letter    piece    other     end of data    end of document
        BEFORE         INSIDE    PIECE    BEFORE    BEFORE         None
        WORD_PREFIX    INSIDE    PIECE    BEFORE    WORD_PREFIX    None
        INSIDE         INSIDE    End      End       INSIDE         End
        PIECE          End       PIECE    End       End

    A joiner right after a letter changes nothing yet: it belongs to the word only if a letter follows. BEFORE a word, a
    character that no completion may contain gives None.

    Args:
        state: where the text is.
        data: the text's next bytes; b"" for the end of the document.

    Returns:
        Where the text is then; or where the word ended; or None if no word can follow: the document ends before one, or
        there are control characters or bytes that are not UTF-8, which no completion may contain.
    """
    place, tail = state
    text = tail + data
    position = end = 0
    while position < len(text):
        character, size = _character(text, position)
        if character is None:
            break
        kind = _kind(character)
        continues_word = kind == INSIDE or (character in _JOINERS and end == position)
        if (place == INSIDE and not continues_word) or (place == PIECE and kind != PIECE):
            return End(end - len(tail))
        if place == WORD_PREFIX and not continues_word:
            place = BEFORE  # the word ended in the given text
        if place == BEFORE and kind is None:
            return None
        if kind in (INSIDE, PIECE):
            place, end = kind, position + size
        position += size
    if place == PIECE or (place == INSIDE and not data):
        return End(end - len(tail))
    if not data:
        return None
    return State(place, text[position if place == BEFORE else end :])


def word_at_end(text: bytes, given: int) -> bytes:
    """Return the word that a text ends with; in a script without spaces, only its part after the given text.

    Args:
        text: ends with a word.
        given: the number of bytes of the given text, which may end inside a character.
    """
    word, _ = word_prefix(text)
    if word:
        return word
    start = position = 0
    while position < len(text):
        character, size = _character(text, position)
        if character is None:
            break
        position += size
        if position <= given or _kind(character) != PIECE:
            start = position
    return text[start:]


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each word of a text begins and ends, in characters.

    In a script without spaces each character counts as a word, since the text does not show which belong together.
    """
    start = end = -1  # of the current word, without joiners that may be past its end
    for position, character in enumerate(text):
        kind = _kind(character)
        if kind == INSIDE:
            if start < 0:
                start = position
            end = position + 1
        elif start >= 0 and not (character in _JOINERS and end == position):
            yield start, end
            start = -1
        if kind == PIECE:
            yield position, position + 1
    if start >= 0:
        yield start, end


def _character(text: bytes, position: int) -> tuple[str | None, int]:
    """The character at a position and its number of bytes.

    It is None if the text ends inside it, and a lone surrogate of one byte if the bytes are not UTF-8.
    """
    first = text[position]
    if first < 0x80:
        return chr(first), 1
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    try:
        return text[position : position + size].decode(), size
    except UnicodeDecodeError as error:
        return (None, 0) if error.reason == "unexpected end of data" else ("\udcff", 1)


def _kind(character: str) -> int | None:
    """The kind of a character: INSIDE, PIECE or BEFORE; None for characters that no completion may contain."""
    if character.isascii():
        if character.isalnum() or character == "_":
            return INSIDE
        return BEFORE if character.isprintable() or character in "\t\n" else None
    category = unicodedata.category(character)
    if category[0] not in "LMN":
        return None if category in ("Cc", "Cs") else BEFORE
    code = ord(character)
    return PIECE if any(first <= code <= last for first, last in _UNSPACED) else INSIDE
