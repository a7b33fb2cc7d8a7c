"""Composed or decomposed letters: which of Unicode's two forms a text has, and how another text is brought to it.

A letter with an accent is one character in the composed form (NFC) and two or more in the decomposed one (NFD): to a
model they are strangers. A corpus mostly has one form throughout, and then what people type is brought to it.
"""

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

NormalForm = Literal["NFC", "NFD"]
NORMAL_FORMS: tuple[NormalForm, ...] = get_args(NormalForm)

_MAX_CLUSTER = 64
"""Characters, from a letter to the last of its marks, that are looked at together; Unicode's streams have 31."""
_PIECE = 4096  # characters that are examined one by one if their text is not in a form as a whole
# Letters by category that nevertheless join the letter before: vowels and finals of Hangul, vowel signs of Kirat Rai.
_JOINING_LETTERS = (range(0x1160, 0x1200), range(0x16D63, 0x16D6B))


def known_form(value: object) -> NormalForm | None:
    """A form that was written to a file; None for anything else."""
    return next((form for form in NORMAL_FORMS if form == value), None)


class FormDetector:
    """Finds the normal form of documents that come in stretches.

    Characters that are in neither form by themselves, such as the Ångström sign or a compatibility ideograph, are left
    out of account: they say nothing about how letters and accents are written.
    """

    def __init__(self) -> None:
        self._possible: list[NormalForm] = list(NORMAL_FORMS)
        self._before = ""  # the last characters of the stretch before

    @property
    def form(self) -> NormalForm | None:
        """The form that everything so far has; NFC if it has both. None if it has neither."""
        return self._possible[0] if self._possible else None

    def add(self, text: str) -> None:
        """Take the next stretch of a document."""
        if not text:
            return
        before, self._before = self._before, text[-_MAX_CLUSTER:]
        if self._possible and not (before.isascii() and text.isascii()):
            text = before + text
            self._possible = [form for form in self._possible if _is_in_form(text, form)]

    def end_document(self) -> None:
        """The next stretch begins another document."""
        self._before = ""


def _is_in_form(text: str, form: NormalForm) -> bool:
    """Whether a text is in a form, but for characters that are in neither by themselves."""
    import unicodedata

    if unicodedata.is_normalized(form, text):
        return True
    pieces = (text[max(0, start - _MAX_CLUSTER) : start + _PIECE] for start in range(0, len(text), _PIECE))
    return all(unicodedata.is_normalized(form, piece) or _is_piece_in_form(piece, form) for piece in pieces)


def _is_piece_in_form(piece: str, form: NormalForm) -> bool:
    """The same for a piece that has characters in no form, or is not in this form."""
    import unicodedata

    others = {
        ord(character): unicodedata.normalize(form, character)
        for character in set(piece)
        if not unicodedata.is_normalized("NFC", character)
    }
    return bool(others) and unicodedata.is_normalized(form, piece.translate(others))


def in_form(text: str, form: NormalForm | None) -> str:
    """A whole text in a normal form; as it is, if there is none."""
    if form is None or text.isascii():
        return text
    import unicodedata  # here, so that a completion of ASCII does not wait for it

    return unicodedata.normalize(form, text)


def texts_in_form(texts: Iterable[str], form: NormalForm | None) -> Iterator[str]:
    """A text that comes in stretches, in a normal form; the result does not depend on where it is cut."""
    held = ""  # the last letter, which the next stretch may give an accent
    for text in texts:
        if form is None:
            yield text
            continue
        text = held + text
        end = _last_letter(text)
        text, held = text[:end], text[end:]
        if text:
            yield in_form(text, form)
    if held:
        yield in_form(held, form)


def _last_letter(text: str) -> int:
    """Where the last character is that joins no character before it; marks without end are cut somewhere."""
    for start in range(len(text) - 1, max(0, len(text) - _MAX_CLUSTER) - 1, -1):
        if not _joins(text[start]):
            return start
    return max(0, len(text) - _MAX_CLUSTER)


def _joins(character: str) -> bool:
    """Whether a character may be composed with the one before it."""
    if character.isascii():
        return False
    import unicodedata

    return unicodedata.category(character)[0] == "M" or any(ord(character) in letters for letters in _JOINING_LETTERS)
