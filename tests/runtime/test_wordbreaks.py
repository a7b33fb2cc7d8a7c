import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.runtime.wordbreaks import BEFORE, End, State, piece_at_end, read, spans, word_at_end, word_prefix


def ending(given, *pieces):
    """What follows the given text until a word has ended; None if none can."""
    _, state = word_prefix(given)
    text = b""
    for piece in (*pieces, b""):
        after = read(state, piece)
        if isinstance(after, End):
            return (text + piece)[: len(text) + after.offset].decode()
        if after is None:
            return None
        text, state = text + piece, after
    raise AssertionError("the document's end ends everything")


@pytest.mark.parametrize(
    ("given", "following", "expected"),
    [
        ("Mr Wat", "son goes", "son"),
        ("On", " the left", ""),
        ("On ", "the left", "the"),
        ("On", "e.", "e"),
        ("On the left,", " he", " he"),
        ("he said: ", '"Go on', '"Go'),
        ("do", "n't go", "n't"),
        ("dogs", "' tails", ""),
        ("dogs'", " tails ", " tails"),
        ("well", "-known man", "-known"),
        ("well", "--known", ""),
        ("well-", "known", "known"),
        ("well-", "-known", "-known"),
        ("snake_", "case(", "case"),
        ("19", "84.", "84"),
        ("na", "i\u0308ve one", "i\u0308ve"),
        ("Пра", "вда.", "вда"),
        ("इति", "हास ", "हास"),
        ("می", "\u200cخواهم ", "\u200cخواهم"),
        ("한국", "어는 ", "어는"),
        ("GPU", "東京", ""),
        ("na", "\u0308h ", "\u0308h"),
        ("स्क", "ूल ", "ूल"),
        ("שָׁל", "וֹם ", "וֹם"),
        ("❤", "\ufe0f", None),
        ("❤", "\ufe0f und ", "\ufe0f und"),
        (" ", "\u0301 a ", "\u0301 a"),
        ("", "", None),
        ("a ", "", None),
        ("a", "", ""),
        ("a ", "\x1b[1m", None),
        ("a ", "\x85b", None),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_word_ends_at_the_same_place_however_its_text_comes(given, following, expected, size):
    data = following.encode()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert ending(given.encode(), *pieces) == expected


def test_in_a_script_without_spaces_a_piece_is_a_word():
    assert ending("東".encode(), "京".encode(), "都".encode()) == "京"
    assert ending("東".encode(), "京都".encode()) == "京都"
    assert ending("東".encode(), "京、".encode()) == "京"
    assert ending("ไป".encode(), "เที่ยว".encode(), "กัน".encode()) == "เที่ยว"
    kyoto = "京".encode()
    assert ending("東".encode(), kyoto[:1], kyoto[1:2], kyoto[2:], b"a") == "京"


def test_a_piece_has_the_marks_after_it_and_marks_alone_are_none():
    assert ending("ก".encode(), "ั".encode(), "น".encode(), "ไป".encode()) == "ัน"
    assert ending("ก".encode(), "ัน".encode(), "ไป".encode()) == "ัน"
    assert ending(b"", "ก".encode(), "ั".encode(), "น".encode()) == "กั"
    assert ending(b"", "ก".encode(), "ัน".encode(), "น".encode()) == "กัน"
    assert ending(b"", "မ".encode(), "ြ".encode(), "န".encode()) == "မြ"
    assert ending(b"", "ក".encode(), b" ") == "ក"
    assert ending(b"", "ក".encode()) == "ក"
    assert ending("ก".encode(), "ั".encode()) is None
    assert piece_at_end("แม่".encode()) == "ม่".encode()
    assert piece_at_end(b"GPU") == piece_at_end("।".encode()) == piece_at_end(b"") == b""


MARKED = [chr(code) for code in range(0x300, 0x1E00) if unicodedata.category(chr(code)).startswith("M")]


@pytest.mark.parametrize("before", ["", " ", "a ", "a, ", "❤", "«", "ก"])
def test_no_mark_of_any_script_is_a_word(before):
    for mark in MARKED:
        assert ending(before.encode(), mark.encode()) is None
        assert ending(before.encode(), mark.encode(), b" ab", b" ") == f"{mark} ab"


def test_all_marks_of_all_scripts_belong_to_the_letter_before_them():
    for mark in MARKED:
        assert ending(b"a", (mark + "b ").encode()) == mark + "b"
        assert [word for word in spans(f"xa{mark}b {mark} ก{mark}") if word[0] == 0] == [(0, 4)]
        assert [f"a{mark}"] == [f"a{mark}."[start:end] for start, end in spans(f"a{mark}.")]


def test_a_text_may_end_inside_a_character():
    first, second = "é".encode()[:1], "é".encode()[1:]
    assert word_prefix(b"caf" + first) == (b"caf" + first, State(1, first))
    assert read(word_prefix(b"caf" + first)[1], second + b" ") == End(1)
    assert isinstance(read(word_prefix(b"caf")[1], first), State)
    assert read(read(word_prefix(b"caf")[1], first), b"x") == End(
        -1
    )  # that was no character: the word had ended before it
    assert word_at_end(b"caf" + first + second, 4) == "café".encode()


def test_bytes_that_are_not_text_belong_to_no_word():
    assert read(State(BEFORE, b""), b"\xff") is None
    assert read(word_prefix(b"a")[1], b"\xff") == End(0)
    assert word_prefix(b"a\xff") == (b"", State(BEFORE, b""))


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [("He goes", 5, "goes"), ("don't", 4, "don't"), ("東京都", 3, "京都"), ("「東", 0, "東")],
)
def test_the_last_word_is_a_whole_one(text, given, expected):
    assert word_at_end(text.encode(), given).decode() == expected


@given(st.text(), st.text())
def test_whatever_the_text_a_word_ends_with_a_letter_a_mark_or_a_digit(before, after):
    found = ending(before.encode(), *(character.encode() for character in after))
    assert found is None or after.startswith(found)
    if found:
        assert unicodedata.category(found[-1])[0] in "LMN" or found[-1] == "_"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ('He said, "I don\'t."', ["He", "said", "I", "don't"]),
        ("well-known -- dogs' 12_a", ["well-known", "dogs", "12_a"]),
        ("Ünd: 漢字 ab漢", ["Ünd", "漢", "字", "ab", "漢"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("שָׁלוֹם׃ e\u0301te\u0301", ["שָׁלוֹם", "e\u0301te\u0301"]),
        ("แม่ไป", ["แ", "ม่", "ไ", "ป"]),
        ("❤\ufe0f \u0301", []),
    ],
)
def test_the_words_of_a_text(text, expected):
    assert [text[start:end] for start, end in spans(text)] == expected


@given(st.text(st.sampled_from("ab'- .,é-")))
def test_the_words_of_a_text_are_those_that_reading_it_finds(text):
    found, end = [], 0
    while (word := ending(b"", text[end:].encode())) is not None:
        end += len(word)
        found.append(end)
    assert [stop for _, stop in spans(text)] == found
    assert all(word_prefix(text[:stop].encode())[0] == text[start:stop].encode() for start, stop in spans(text))
