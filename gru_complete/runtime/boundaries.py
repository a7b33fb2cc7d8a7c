"""Where a completion ends: at the end of a word, line, sentence or paragraph, or before a stop string.

Both work on text, not on tokens, and character by character, so the end does not depend on how tokens cut the text.
An end is often certain only after some text behind it; until then ``TextCutter`` holds back no more than it must.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy

UNTIL = ("word", "line", "sentence", "paragraph", "none")

TERMINATORS = frozenset(".!?…")
"""They end a sentence if white space follows."""
CJK_TERMINATORS = frozenset("。！？｡")
"""They end a sentence whatever follows."""
CLOSERS = frozenset("\"')]}”’“‘»«›‹」』）】〉》")
"""They belong to the sentence before them; “ and « close in German."""

CONTEXT_CHARACTERS = 32
"""Characters of the prompt that are kept: more than any abbreviation has."""


class Boundary:
    """Decides, character by character, whether the text is past its end. This class knows no end.

    Attributes:
        held: the number of latest characters that are past the end if the next one is.
    """

    held = 0

    def is_past_end(self, character: str) -> bool:
        """Receive the next character; return whether it and the ``held`` ones before it are past the end."""
        return False


class LineEnd(Boundary):
    """The line ends before the newline."""

    def is_past_end(self, character: str) -> bool:
        """Whether this is the newline."""
        return character == "\n"


class WordEnd(Boundary):
    """The word ends before white space that follows a letter, a digit or an underscore; white space may come first."""

    def __init__(self) -> None:
        self._in_word = False

    def is_past_end(self, character: str) -> bool:
        """Whether this is white space after the word."""
        if character.isspace():
            return self._in_word
        self._in_word = self._in_word or character.isalnum() or character == "_"
        return False


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
    """The sentence ends after . ! ? … and closing marks when white space follows, or at a blank line.

    A period after a single letter ("J. Smith") or an abbreviation ("Mr. Smith") does not end it. Chinese and Japanese
    marks need no white space after them. Only marks within the completion count: if the prompt ends with a complete
    sentence, the completion is the next one.

    Args:
        before: the end of the prompt, where an abbreviation may begin.
        abbreviations: words followed by a period within sentences, as the corpus writes them, without the period.
    """

    def __init__(self, before: str, abbreviations: Iterable[str]) -> None:
        super().__init__()
        self._abbreviations = frozenset(abbreviations)
        self._word = ""  # the letters before the marks, or before the next character
        self._marks = ""  # the terminators just read, maybe with closing marks between and after them
        for character in before:
            self._read_letter(character)

    def is_past_end(self, character: str) -> bool:
        """Whether the sentence ended before this character."""
        if super().is_past_end(character):
            return True
        if character in TERMINATORS or character in CJK_TERMINATORS:
            self._marks += character
        elif not self._marks:
            self._read_letter(character)
        elif character not in CLOSERS:
            if self._ends_before(character):
                return True
            self._marks = self._word = ""
            self._read_letter(character)
        return False

    def _ends_before(self, character: str) -> bool:
        """Whether the marks end the sentence if this character follows them."""
        if not CJK_TERMINATORS.isdisjoint(self._marks):
            return True
        if not character.isspace():
            return False
        return self._marks != "." or not (len(self._word) == 1 or self._word in self._abbreviations)

    def _read_letter(self, character: str) -> None:
        self._word = (self._word + character)[-CONTEXT_CHARACTERS:] if character.isalpha() else ""


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
        """Receive more text; return what has become certain to belong to the completion."""
        start = len(self._before_until)
        text = self._before_until + text
        for index in range(start, len(text)):
            held = self._until.held
            if self._until.is_past_end(text[index]):
                certain = self._cut_at_stop(text[: index - held])
                if self.reason is None:
                    self.reason = "until"
                    certain += self._before_stop
                return certain
        end = len(text) - self._until.held
        self._before_until = text[end:]
        return self._cut_at_stop(text[:end])

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
