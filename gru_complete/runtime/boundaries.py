"""Where a completion ends: at the end of a word, line, sentence or paragraph, or before a stop string.

Both work on text, not on tokens, and character by character, so the end does not depend on how tokens cut the text,
except for words of scripts that do not mark them (``WordEnd``). An end is often certain only after some text behind it;
until then ``TextCutter`` holds back no more than it must.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy

from gru_complete.text.terminators import FULL_STOPS, TERMINATORS, UNSPACED_TERMINATORS, WIDE_FULL_STOPS

UNTIL = ("word", "line", "sentence", "paragraph", "none")

CLOSERS = frozenset("\"'״＂＇")
"""They belong to the sentence before them, as do those that Unicode calls closing or final (Pe, Pf), and initial ones
(Pi), since “ and « close in German and Danish."""
_NO_BREAK_SPACES = "\xa0\u202f"

CONTEXT_CHARACTERS = 32
"""Characters of the prompt that are kept: more than any abbreviation has."""


class Boundary:
    """Decides, character by character, whether the text is past its end. This class knows no end.

    Attributes:
        held: the number of latest characters that are past the end if the next one is.
    """

    held = 0

    def find_end(self, text: str) -> int | None:
        """Read the next piece of the text.

        Returns:
            Where the text ends, in characters from the beginning of the piece: negative if among those held back.
        """
        for index, character in enumerate(text):
            held = self.held
            if self.is_past_end(character):
                return index - held
        return None

    def is_past_end(self, character: str) -> bool:
        """Receive the next character; return whether it and the ``held`` ones before it are past the end."""
        return False


class LineEnd(Boundary):
    """The line ends before the newline."""

    def is_past_end(self, character: str) -> bool:
        """Whether this is the newline."""
        return character == "\n"


class WordEnd(Boundary):
    """The word ends where ``wordbreaks.py`` says; what comes before it belongs to the completion.

    In a script without spaces each piece of the text is a word: so here the end depends on how the model cuts the text.
    """

    def __init__(self) -> None:
        from gru_complete.runtime import wordbreaks  # here, since few completions end with a word

        self._words = wordbreaks
        self._state = wordbreaks.State(wordbreaks.BEFORE, b"")

    def find_end(self, text: str) -> int | None:
        """Read the next piece of the text; returns what ``Boundary.find_end`` does."""
        data = text.encode()
        after = self._words.read(self._state, data)
        if isinstance(after, self._words.End):
            return len(data[: after.offset].decode()) if after.offset >= 0 else -self.held
        self._state = after or self._words.State(self._words.BEFORE, b"")
        self.held = len(self._state.tail.decode()) if self._state.place == self._words.INSIDE else 0
        return None


class ParagraphEnd(Boundary):
    """The paragraph ends before the newline of a blank line; blank lines at the very start are skipped."""

    def __init__(self) -> None:
        self.held = 0  # a newline and blanks after it
        self._started = False

    def is_past_end(self, character: str) -> bool:
        """Whether this newline makes a blank line."""
        if character == "\n":
            if self.held:
                return True
            self.held = 1 if self._started else 0
        elif not character.isspace():
            self.held = 0
            self._started = True
        elif self.held:
            self.held += 1
        return False


class SentenceEnd(ParagraphEnd):
    """The sentence ends after terminators and closing marks, or at a blank line.

    White space must follow those of ``SPACED_TERMINATORS``; a full stop after a single letter ("J. Smith") or an
    abbreviation ("Mr. Smith") does not end it. Only marks within the completion count: if the prompt ends with a
    complete sentence, the completion is the next one.

    Args:
        before: the end of the prompt, where an abbreviation may begin.
        abbreviations: words followed by a period within sentences, as the corpus writes them, without the period.
    """

    def __init__(self, before: str, abbreviations: Iterable[str]) -> None:
        super().__init__()
        self._abbreviations = frozenset(abbreviations)
        self._word = ""  # the letters before the marks, or before the next character
        self._marks = ""  # the terminators just read, maybe with closing marks between and after them
        self._is_after_space = False  # a no-break space after the marks, which a closing mark may follow: « Va. »
        for character in before:
            self._read_letter(character)

    def is_past_end(self, character: str) -> bool:
        """Whether the sentence ended before this character."""
        if super().is_past_end(character):
            return True
        if character in TERMINATORS or (character == ";" and self._is_after_greek()):
            self._marks += character
        elif not self._marks:
            self._read_letter(character)
        elif not self._is_closer(character):
            if self._is_after_space:
                return True
            if self._ends_before(character):
                if character not in _NO_BREAK_SPACES:
                    return True
                self._is_after_space, self.held = True, 1
                return False
            self._marks = self._word = ""
            self._read_letter(character)
        self._is_after_space = False
        return False

    def _is_after_greek(self) -> bool:
        last = self._word[-1:]
        return "\u0370" <= last <= "\u03ff" or "\u1f00" <= last <= "\u1fff"

    def _is_closer(self, character: str) -> bool:
        """Whether a character after the terminators belongs to them."""
        if character in CLOSERS:
            return not self._is_after_space
        if character.isalnum() or character.isspace():
            return False
        from unicodedata import category  # here, since hardly anything but white space follows a terminator

        kind = category(character)
        if kind == "Pi":  # “ and « open what comes next if no white space is needed: 他说：“走。”“好。”
            return not self._is_after_space and UNSPACED_TERMINATORS.isdisjoint(self._marks)
        return kind in ("Pe", "Pf", "Mn", "Mc", "Me", "Cf")  # the last four: variation selectors, directions

    def _ends_before(self, character: str) -> bool:
        """Whether the marks end the sentence if this character follows them."""
        if not UNSPACED_TERMINATORS.isdisjoint(self._marks):
            return True
        is_latin = character.isalpha() and (character < "\u0250" or "Ａ" <= character <= "ｚ")
        is_apart = not (WIDE_FULL_STOPS.isdisjoint(self._marks) or is_latin or character.isdecimal())
        if not (is_apart or character.isspace()):
            return False
        return self._marks not in FULL_STOPS or not (self._is_initial() or self._word in self._abbreviations)

    def _is_initial(self) -> bool:
        """Whether the word is a single letter, maybe with marks that Unicode can write as one character with it."""
        if len(self._word) < 2 or self._word.isascii():
            return len(self._word) == 1
        from unicodedata import normalize

        return len(normalize("NFC", self._word)) == 1

    def _read_letter(self, character: str) -> None:
        is_letter = character.isalpha() or (character >= "\u0300" and _is_mark(character))
        self._word = (self._word + character)[-CONTEXT_CHARACTERS:] if is_letter else ""


def _is_mark(character: str) -> bool:
    if "\u2000" <= character < "\u20d0":  # dashes, quotes and spaces: the commonest, and none of them is a mark
        return False
    from gru_complete.text.letters import is_mark

    return is_mark(character)


def boundary(until: str, *, before: str, abbreviations: Iterable[str]) -> Boundary:
    """Return the rule for ``until``, one of ``UNTIL``, for text that follows ``before``."""
    if until == "sentence":
        return SentenceEnd(before[-CONTEXT_CHARACTERS:], abbreviations)
    rules: dict[str, type[Boundary]] = {
        "word": WordEnd,
        "line": LineEnd,
        "paragraph": ParagraphEnd,
        "none": Boundary,
    }
    return rules[until]()


class TextCutter:
    """Passes text on up to its end.

    The ``until`` end is found first, and stop strings in what is left. Of several stop strings, the first to be
    complete counts.

    Args:
        until: where the text ends.
        stops: strings before which it also ends; none is empty.

    Attributes:
        reason: "until" or "stop" once the end was found; then no more text may be fed.
    """

    def __init__(self, until: Boundary, stops: Sequence[str]) -> None:
        self.reason: str | None = None
        self._until = until
        self._stops = stops
        self._before_until = ""  # may turn out to be past the end
        self._before_stop = ""  # may be the beginning of a stop string

    def copy(self) -> TextCutter:
        """Return an independent cutter in the same state."""
        other = copy(self)
        other._until = copy(self._until)  # holds nothing but values
        return other

    def feed(self, text: str) -> str:
        """Receive the next piece of text; return what has become certain to belong to the completion."""
        end = self._until.find_end(text)
        text = self._before_until + text
        if end is not None:
            certain = self._cut_at_stop(text[: len(self._before_until) + end])
            if self.reason is None:
                self.reason = "until"
                certain += self._before_stop
            return certain
        certain_end = len(text) - self._until.held
        self._before_until = text[certain_end:]
        return self._cut_at_stop(text[:certain_end])

    def finish(self) -> str:
        """Return what was held back, when no end was found and no more text will come."""
        text = self._cut_at_stop(self._before_until)
        return text if self.reason else text + self._before_stop

    def _cut_at_stop(self, text: str) -> str:
        """Return the text before the first stop string, without what may be the beginning of one."""
        if not self._stops:
            return text
        text = self._before_stop + text
        ends = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if ends:
            self.reason = "stop"
            return text[: min(ends)[1]]
        end = len(text) - max(_overlap(text, stop) for stop in self._stops)
        self._before_stop = text[end:]
        return text[:end]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of the text that is a beginning of the stop string, not all of it."""
    longest = min(len(stop) - 1, len(text))
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
