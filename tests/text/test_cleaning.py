import re
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.runtime.characters import continues
from gru_complete.text.cleaning import Cleaner, cleaned

LINE_ENDS = ["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"]
SEQUENCES = [
    "\x1b[31m", "\x1b[0;1;38;5;208m", "\x1b[K", "\x1b[2J", "\x1b[?25l", "\x1b]0;title\x07", "\x1b]8;;http://a.b\x1b\\",
    "\x1b(B", "\x1b=", "\x1bM", "\x1bPq#0\x1b\\", "\x1b[1 q",
]  # fmt: skip
PIECES = [
    *LINE_ENDS,
    *SEQUENCES,
    "a",
    "é",
    "字",
    " ",
    "\t",
    "\f",
    "\v",
    "\x1b",
    "[",
    "\x00",
    "\x08",
    "\x7f",
    "\x9b",
    "\ufeff",
]


def by_the_book(text):
    """The same character by character, from the description."""
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b\r\n]*(\x07|\x1b\\)|\x1b[ -/]*[0-~]", "", text)
    kept = (c for c in text if c in "\t\n\r\v\f\x85" or (unicodedata.category(c) != "Cc" and c != "\ufeff"))
    text = re.sub("\r\n|\r|\x85|\u2028|\u2029", "\n", "".join(kept).replace("\v", "\f"))
    lines = text.split("\n")
    for index, line in enumerate(lines):
        lines[index] = re.sub("\f+", "\n", line.lstrip("\f") if index == len(lines) - 1 else line.strip("\f"))
    return "\n".join(lines)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30), st.data())
def test_any_text_is_cleaned_by_the_book_wherever_it_is_cut(pieces, data):
    text = "".join(pieces)
    assert cleaned(text) == by_the_book(text)
    cleaner = Cleaner()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [cleaner.feed(text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join([*parts, cleaner.feed("", is_last=True)]) == cleaned(text)
    assert cleaned(cleaned(text)) == cleaned(text)


@given(st.text())
def test_text_that_a_completion_may_write_stays_as_it_is_but_for_marks_and_separators(text):
    writable = all(continues(b"", character.encode("utf-8", "surrogatepass")) for character in text)
    clean = cleaned(text)
    if writable and not re.search("[\u2028\u2029\ufeff]", text):
        assert clean == text
    assert all(continues(b"", character.encode()) for character in clean if not "\ud800" <= character <= "\udfff")


def test_no_character_is_left_that_a_completion_never_writes():
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
    assert all(continues(b"", character.encode()) for character in set(cleaned(everything)))
    written = {character for character in everything if continues(b"", character.encode())}
    assert written - set(cleaned(everything)) == {"\u2028", "\u2029", "\ufeff"}


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_every_line_end_becomes_a_line_feed_and_is_counted(line_end):
    cleaner = Cleaner()
    assert cleaner.feed(f"one{line_end}two{line_end}", is_last=True) == "one\ntwo\n"
    counted = {"\n": (0, 0), "\r\n": (2, 0)}.get(line_end, (0, 2))
    assert (cleaner.changes.crlf, cleaner.changes.line_ends) == counted


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_terminal_sequences_are_dropped_and_counted(sequence):
    cleaner = Cleaner()
    assert cleaner.feed(f"a{sequence}b{sequence}", is_last=True) == "ab"
    assert (cleaner.changes.sequences, cleaner.changes.controls) == (2, 0)


@pytest.mark.parametrize("mark", ["\f", "\v", "\f\v\f"])
def test_pages_end_lines_only_where_nothing_else_does(mark):
    assert cleaned(f"{mark}one{mark}two\n{mark}three{mark}\n{mark}\nfour") == "one\ntwo\nthree\n\nfour"


def test_a_sequence_without_an_end_is_not_waited_for():
    cleaner = Cleaner()
    assert cleaner.feed("\x1b]0;") == ""
    assert sum(len(cleaner.feed("x" * 100)) for _ in range(20)) >= 1000
