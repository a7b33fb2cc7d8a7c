import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.text.letters import is_mark, is_unspaced, mark_class, without_marks


def test_the_class_of_marks_has_all_marks_of_unicode_and_nothing_else():
    marks = re.compile(f"[{mark_class()}]")
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert set(marks.findall(every)) == {char for char in every if unicodedata.category(char).startswith("M")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301te\u0301", "ete"),
        ("हिन्दी", "हनद"),
        ("שָׁלוֹם", "שלום"),
        ("தமிழ்", "தமழ"),
        ("\u0301a", "\u0301a"),
        (" \u0301", " \u0301"),
        ("❤\ufe0f", "❤\ufe0f"),
    ],
)
def test_marks_are_left_out_only_after_letters(text, expected):
    assert without_marks(text) == expected


@given(st.text(st.characters(categories=["L", "M", "N", "P", "Z"])))
def test_what_is_left_out_are_marks(text):
    kept = iter(without_marks(text))
    rest = next(kept, None)
    for character in text:
        if character == rest:
            rest = next(kept, None)
        else:
            assert is_mark(character)
    assert rest is None


def test_scripts_without_spaces():
    assert all(map(is_unspaced, "漢かカไລမខ"))
    assert not any(map(is_unspaced, "aяक가"))
