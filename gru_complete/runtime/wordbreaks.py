"""Where a word begins and ends, in any language, while its text arrives in pieces of bytes.

A word is a run of letters, digits and underscores with their marks (``text/letters.py``); an apostrophe, a hyphen or a
joiner between two of them belongs to it ("don't", "well-known"). Scripts written without spaces (Chinese, Japanese,
Thai, ...) do not mark words: there each piece that a model writes counts as a word, with the marks after it. Bytes that
are not UTF-8 belong to no word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from gru_complete.text.letters import JOINERS, is_unspaced

BEFORE, WORD_PREFIX, INSIDE, PIECE = range(4)
"""Places in a text: see ``State``. They also name the kinds of characters: INSIDE for those of a word of a spaced
script, PIECE for those of a script without spaces, BEFORE for all others but marks."""
_MARK = 4


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
        is_next = place == INSIDE and end == position
        if kind == INSIDE or (kind == _MARK and is_next):
            if place != INSIDE:
                place, start = INSIDE, position
            end = position + size
        elif not (is_next and character in JOINERS):
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

                       letter    piece    mark      other     end of data    end of document
        BEFORE         INSIDE    PIECE    BEFORE    BEFORE    BEFORE         None
        WORD_PREFIX    INSIDE    PIECE    BEFORE    BEFORE    WORD_PREFIX    None
        INSIDE         INSIDE    End      INSIDE    End       INSIDE         End
        PIECE          End       PIECE    PIECE     End       End            End

    A joiner right after a letter changes nothing yet: it belongs to the word only if a letter follows. A piece of a
    script with marks does not end with the data: a mark may follow, but nothing else. Marks BEFORE a word belong to the
    piece after them. BEFORE a word, a character that no completion may contain gives None.

    Args:
        state: where the text is.
        data: the text's next bytes; b"" for the end of the document.

    Returns:
        Where the text is then; or where the word ended; or None if no word can follow: the document ends before one, or
        there are control characters or bytes that are not UTF-8, which no completion may contain.
    """
    place, tail = state
    text = tail + data
    position = end = marks = 0  # marks: where those before the next character begin
    takes_pieces = place != PIECE
    takes_marks = place == PIECE
    while position < len(text):
        character, size = _character(text, position)
        if character is None:
            break
        kind = _kind(character)
        is_next = end == position
        continues_word = kind == INSIDE or (is_next and (kind == _MARK or character in JOINERS))
        continues_piece = (kind == _MARK and is_next) or (kind == PIECE and takes_pieces)
        if (place == INSIDE and not continues_word) or (place == PIECE and not continues_piece):
            return End(end - len(tail))
        if place == WORD_PREFIX and not continues_word:
            place = BEFORE  # the word ended in the given text
        if place == BEFORE and kind is None:
            return None
        if kind == _MARK and place != BEFORE:
            place, end, takes_pieces = (PIECE if place == PIECE else INSIDE), position + size, True
        elif kind in (INSIDE, PIECE):
            place, end, takes_marks = kind, position + size, kind == PIECE and _takes_marks(character)
        position += size
        marks = marks if kind == _MARK else position
    if not data or (place == PIECE and not takes_marks):
        return End(end - len(tail)) if place in (INSIDE, PIECE) else None
    return State(place, text[marks if place == BEFORE else end :])


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
        if position <= given or _kind(character) not in (PIECE, _MARK):
            start = position
    return text[start:]


def piece_at_end(text: bytes) -> bytes:
    """The last character of a text with its marks, if its script puts no spaces between words; else b""."""
    characters = text.decode(errors="replace")
    start = len(characters) - 1
    while start > 0 and _kind(characters[start]) == _MARK:
        start -= 1
    return characters[start:].encode() if characters and _kind(characters[start]) == PIECE else b""


def begins_with_mark(text: bytes) -> bool:
    """Whether a text begins with a mark, which belongs to the character before it."""
    character = text[:4].decode(errors="ignore")[:1]
    return character != "" and _kind(character) == _MARK


def is_piece(character: str) -> bool:
    """Whether a character is a letter of a script that does not put spaces between words."""
    return _kind(character) == PIECE


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each word of a text begins and ends, in characters.

    In a script without spaces each character counts as a word, with its marks: the text does not show which belong
    together.
    """
    place, start, end = BEFORE, 0, 0  # of the current word, without joiners that may be past its end
    for position, character in enumerate(text):
        kind = _kind(character)
        is_next = place != BEFORE and end == position
        if (kind == _MARK and is_next) or (kind == INSIDE and place == INSIDE):
            end = position + 1
        elif not (is_next and place == INSIDE and character in JOINERS):
            if place != BEFORE:
                yield start, end
            place = BEFORE
            if kind in (INSIDE, PIECE):
                place, start, end = kind, position, position + 1
    if place != BEFORE:
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
    """The kind of a character: INSIDE, PIECE, _MARK or BEFORE; None for characters that no completion may contain."""
    if character.isascii():
        if character.isalnum() or character == "_":
            return INSIDE
        return BEFORE if character.isprintable() or character in "\t\n" else None
    category = unicodedata.category(character)
    if category[0] == "M":
        return _MARK
    if category[0] in "LN":
        return PIECE if is_unspaced(character) else INSIDE
    return None if category in ("Cc", "Cs") else BEFORE


def _takes_marks(character: str) -> bool:
    """Whether the marks of a character of a script without spaces are many: not those of Han characters and Kana."""
    return character < "\u3000" or "\ua9e0" <= character <= "\uaadf"
