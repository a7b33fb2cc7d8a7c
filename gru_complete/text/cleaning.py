r"""Line ends become line feeds, and what no completion ever writes is dropped: control characters, terminal sequences.

A line ends where Unicode says so (UTS #18, RL1.6): CRLF, CR, NEL, U+2028 and U+2029 become a line feed each. Vertical
tabs and form feeds do too, unless another line end is next to them, as between the pages of an old text. Dropped are
the sequences that steer a terminal (``\x1b[31m``), all other control characters but the tab, and byte order marks
anywhere. What is left has none of these, so that text can be cleaned any number of times.
"""

import re

CONTROLS = "".join(map(chr, (*range(0x09), *range(0x0E, 0x20), 0x7F)))
"""The ASCII control characters that are neither white space nor line ends."""
_LINE_ENDS = "\x85\u2028\u2029"  # besides CR and LF

_MAX_PARAMETERS = 64
_MAX_STRING = 1000  # characters of a string for the terminal, e.g. the title of its window
# ECMA-48: control sequences (CSI), strings up to their terminator (OSC and others), and the short ones. The expressions
# are compiled when first used: that takes longer than reading a prompt that needs none.
_SEQUENCE = (
    rf"\x1b(?:\[[0-?]{{0,{_MAX_PARAMETERS}}}[ -/]{{0,4}}[@-~]"
    rf"|[\]PX^_][^\x07\x1b\r\n]{{0,{_MAX_STRING}}}(?:\x07|\x1b\\)"
    r"|[ -/]{0,4}[0-~])"
)
_UNFINISHED_SEQUENCE = (
    rf"\x1b(?:\[[0-?]{{0,{_MAX_PARAMETERS}}}[ -/]{{0,4}}"
    rf"|[\]PX^_][^\x07\x1b\r\n]{{0,{_MAX_STRING}}}\x1b?"
    r"|[ -/]{0,4})\Z"
)
_LONGEST_SEQUENCE = _MAX_STRING + 4
_DROPPED = f"[{re.escape(CONTROLS)}\x80-\x84\x86-\x9f\ufeff]"
_BEYOND_ASCII = "[\x80-\x9f\u2028\u2029\ufeff]"  # what of this is dropped or ends a line


class Changes:
    """How often a text was changed, by kind.

    Attributes:
        crlf: CRLF that became LF.
        line_ends: other line ends that became LF.
        sequences: terminal sequences that were dropped.
        controls: control characters and byte order marks that were dropped.
    """

    def __init__(self) -> None:
        self.crlf = 0
        self.line_ends = 0
        self.sequences = 0
        self.controls = 0


class Cleaner:
    """Cleans one text that comes in stretches; the result does not depend on where it is cut.

    Attributes:
        changes: what was changed so far.
    """

    def __init__(self) -> None:
        self.changes = Changes()
        self._sequence = ""  # the unfinished terminal sequence at the end of the text so far
        self._end = ""  # a form feed and a CR at its end, which the next character decides about
        self._is_at_line_start = True

    def feed(self, text: str, *, is_last: bool = False) -> str:
        """Take the next stretch of the text, and return what no later stretch can change.

        Args:
            text: the stretch; it may be empty.
            is_last: whether the text ends with it.
        """
        if not (self._sequence or self._end) and _is_clean(text):
            if text:
                self._is_at_line_start = text[-1] == "\n"
            return text
        text = self._end + self._without_controls(self._sequence + text, is_last)
        text, self._end = re.sub(r"[\v\f]+", "\f", text), ""
        if not is_last:
            end = re.search(r"\f?\r?\Z", text)
            assert end is not None
            text, self._end = text[: end.start()], end[0]
        text = self._with_line_feeds(text)
        if text:
            self._is_at_line_start = text[-1] == "\n"
        return text

    def _without_controls(self, text: str, is_last: bool) -> str:
        """Drop the terminal sequences and control characters of a text that begins outside of any sequence."""
        self._sequence = ""
        if "\x1b" in text:
            if not is_last and (unfinished := re.search(_UNFINISHED_SEQUENCE, text[-_LONGEST_SEQUENCE:])):
                self._sequence = unfinished[0]
                text = text.removesuffix(self._sequence)
            text, count = re.subn(_SEQUENCE, "", text)
            self.changes.sequences += count
        if _has_any(CONTROLS, text) or not text.isascii():
            text, count = re.subn(_DROPPED, "", text)
            self.changes.controls += count
        return text

    def _with_line_feeds(self, text: str) -> str:
        """Make every line end a line feed; runs of form feeds and vertical tabs have become one form feed each."""
        if "\r" in text:
            length = len(text)
            text = text.replace("\r\n", "\n")
            self.changes.crlf += length - len(text)
            self.changes.line_ends += text.count("\r")
            text = text.replace("\r", "\n")
        if not text.isascii():
            for line_end in _LINE_ENDS:
                self.changes.line_ends += text.count(line_end)
                text = text.replace(line_end, "\n")
        if "\f" in text:
            text = re.sub(r"(?<=\n)\f|\f(?=\n)", "", text)
            if self._is_at_line_start:
                text = text.removeprefix("\f")
            self.changes.line_ends += text.count("\f")
            text = text.replace("\f", "\n")
        return text


def cleaned(text: str) -> str:
    """Clean a whole text."""
    return Cleaner().feed(text, is_last=True)


def _is_clean(text: str) -> bool:
    """Whether nothing in a text is to be changed."""
    # Looking for one character after the other is ten times faster than a regular expression.
    return not (
        _has_any(CONTROLS, text)
        or _has_any("\r\v\f", text)
        or (not text.isascii() and re.search(_BEYOND_ASCII, text) is not None)
    )


def _has_any(characters: str, text: str) -> bool:
    return any(character in text for character in characters)
