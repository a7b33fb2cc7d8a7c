"""What words are made of, in every script: the one definition for the whole package.

A word consists of letters and digits (Unicode's categories L and N), underscores, and the marks (M) that follow them:
accents, points, vowel signs, variation selectors. A mark alone is no word; it belongs to the character before it, as in
Unicode's rules for words (UAX 29, WB4).
"""

import unicodedata
from functools import lru_cache

JOINERS = frozenset("'’-‐‑\u00ad·\u05f3\u05f4\u200c\u200d")
"""They belong to a word between two of its characters: apostrophes, hyphens, the soft hyphen, Catalan's middle dot,
Hebrew's marks, the joiners of Indic scripts and Persian."""

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
_MARKED_BLOCKS = (  # first code points, and those after the last, of the stretches in which there are marks
    (0x0300, 0x1E00),
    (0x20D0, 0x2100),
    (0x2CE0, 0x2E00),
    (0x3020, 0x30A0),
    (0xA660, 0xAC00),
    (0xFB00, 0xFE30),
    (0x10100, 0x12000),
    (0x13430, 0x13460),
    (0x16100, 0x17000),
    (0x1BC00, 0x1BD00),
    (0x1CF00, 0x1D300),
    (0x1DA00, 0x1EA00),
    (0xE0100, 0xE01F0),
)


def is_mark(character: str) -> bool:
    """Whether a character is a mark: an accent, a vowel sign, a variation selector, ..."""
    return unicodedata.category(character)[0] == "M"


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that does not put spaces between words."""
    code = ord(character)
    return code >= 0x0E00 and any(first <= code <= last for first, last in _UNSPACED)


@lru_cache(1)
def mark_class() -> str:
    """All marks, for a set in a regular expression; finding them takes a few milliseconds."""
    ranges: list[tuple[int, int]] = []
    for first, stop in _MARKED_BLOCKS:
        for code in range(first, stop):
            if is_mark(chr(code)):
                if ranges and ranges[-1][1] == code - 1:
                    ranges[-1] = ranges[-1][0], code
                else:
                    ranges.append((code, code))
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def without_marks(text: str) -> str:
    """Leave out the marks that follow letters, digits or other marks of them; a mark alone stays."""
    kept = ""
    is_in_word = False
    for character in text:
        if not (is_in_word and is_mark(character)):
            kept += character
            is_in_word = character.isalnum()
    return kept
