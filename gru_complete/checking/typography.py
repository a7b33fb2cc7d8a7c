"""Typographic variants: a mark that the model's text writes in another form is read in that form.

A model that learnt from straight quotes has hardly seen a curly one, and would find every ``Watson’s`` unusual. So each
character of ``VARIANTS`` that is rare by the n-gram counts is read as the most frequent one of its kind. A straight
quote may stand at either side; where the model knows the two sides, what comes before it tells them apart.

Every character stays one character, so that places in the text are the same before and after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from gru_complete.arrays import Float64Array

_OPENING_DOUBLE, _CLOSING_DOUBLE = "„“‟«‹", "”“»›"
_OPENING_SINGLE, _CLOSING_SINGLE = "‚‘‛", "’‘ʼ′"
VARIANTS = (
    '"' + _OPENING_DOUBLE + _CLOSING_DOUBLE,
    "'" + _OPENING_SINGLE + _CLOSING_SINGLE,
    "-\u2010\u2011\u2012–—―\u2212",
    " \u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f",
)
"""The characters that are variants of each other, in the form of a typewriter first."""

_SIDES = {'"': (_OPENING_DOUBLE, _CLOSING_DOUBLE), "'": (_OPENING_SINGLE, _CLOSING_SINGLE)}
_BEFORE_OPENING = "([{-–—" + _OPENING_DOUBLE + _OPENING_SINGLE  # and white space
_MIN_RATIO = 10  # a variant that is not so much rarer than another is one that the text uses itself
_OF_TYPEWRITER = str.maketrans({char: kind[0] for kind in VARIANTS for char in kind})


def plain(text: str) -> str:
    """The text with the marks of a typewriter, to compare words by."""
    return text.translate(_OF_TYPEWRITER)


def as_written(word: str, read: str, written: str) -> str:
    """A word of the model, with the variants that the text uses in another word.

    Args:
        word: the word of the model.
        read: the other word, as it was read.
        written: the same, as the text has it; as long.
    """
    for model_form, text_form in zip(read, written, strict=True):
        word = word.replace(model_form, text_form)
    return word


class VariantReader:
    """Reads the typographic variants of a text as one model knows them.

    Args:
        pieces: the bytes of each token, V of them.
        unigrams: the log probability of each token without any context, ``(V,)``.
    """

    def __init__(self, pieces: Sequence[bytes], unigrams: Float64Array) -> None:
        frequencies: Counter[str] = Counter()
        of_interest = set("".join(VARIANTS))
        for piece, frequency in zip(pieces, np.exp(unigrams).tolist(), strict=True):
            for char in piece.decode(errors="ignore"):
                if char in of_interest:
                    frequencies[char] += frequency
        self._after: dict[str, Callable[[str], str]] = {}  # by a rare variant, how it is read after a character
        for kind in VARIANTS:
            for char in kind:
                reading = _reading(char, kind, frequencies)
                if reading is not None:
                    self._after[char] = reading

    def read(self, text: str, before: str) -> str:
        """The text as the model knows it, as long as it was.

        Args:
            text: a part of a text.
            before: the character before it, as it was read; empty at the start.
        """
        if not any(char in text for char in self._after):
            return text
        chars = []
        for char in text:
            reading = self._after.get(char)
            before = char if reading is None else reading(before)
            chars.append(before)
        return "".join(chars)


def _reading(char: str, kind: str, frequencies: Counter[str]) -> Callable[[str], str] | None:
    """How a variant is read after another character; None where it is as frequent as any other of its kind."""
    sides = _SIDES.get(kind[0])
    if sides is None:
        best = max(kind, key=frequencies.__getitem__)
        opening = closing = best
    else:
        opening, closing = (max(kind[0] + side, key=frequencies.__getitem__) for side in sides)
    if frequencies[char] * _MIN_RATIO > min(frequencies[opening], frequencies[closing]):
        return None
    if sides is not None and char != kind[0]:
        is_opening = char in sides[0]
        return lambda _: opening if is_opening else closing
    return lambda before: opening if not before or before.isspace() or before in _BEFORE_OPENING else closing
