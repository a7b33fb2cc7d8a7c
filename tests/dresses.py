"""The same text in many dresses: encodings, line ends, normal forms, and what terminals and editors leave in it."""

import re
import unicodedata
from itertools import product

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be")
LINE_ENDS = ("\n", "\r\n", "\r", "\x85", "\u2028", "\u2029", "\f", "\v")
FORMS = ("NFC", "NFD")
LEFTOVERS = ("", "\x1b[1;31m", "\x1b]0;title\x07", "\ufeff", "\x08", "\x9d")
"""What stands before each word; nothing in most texts."""
DRESSES = tuple(product(ENCODINGS, LINE_ENDS, FORMS, LEFTOVERS))


def dressed(text, encoding, line_end, form, leftover):
    """A text with line feeds in a dress, as bytes."""
    text = re.sub(r"\b(?=\w)", lambda _: leftover, unicodedata.normalize(form, text)).replace("\n", line_end)
    mark = "\ufeff" if encoding.endswith("be") else ""
    return (mark + text).encode(encoding)
