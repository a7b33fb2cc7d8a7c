import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.text.normal_form import FormDetector, in_form, texts_in_form

LETTERS = [
    *"aeộ한が字 \n\u0301",
    "é",
    "e\u0301",
    "o\u0323\u0302",
    "o\u0302\u0323",
    "\u1112\u1161\u11ab",
    "か\u3099",
    "ক\u09c7\u09be",
]


def cut(data, text):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(LETTERS), max_size=30), st.sampled_from(["NFC", "NFD", None]), st.data())
def test_a_text_is_brought_to_a_form_wherever_it_is_cut(letters, form, data):
    text = "".join(letters)
    expected = text if form is None else unicodedata.normalize(form, text)
    assert "".join(texts_in_form(cut(data, text), form)) == expected
    assert in_form(text, form) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(LETTERS), max_size=30), st.sampled_from(["NFC", "NFD", None]), st.data())
def test_the_form_of_a_text_is_found_wherever_it_is_cut(letters, form, data):
    text = in_form("".join(letters), form)
    detector = FormDetector()
    for part in cut(data, text):
        detector.add(part)
    found = next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, text)), None)
    assert detector.form == found
    assert form is None or detector.form in (form, "NFC")


@pytest.mark.parametrize("other", ["\u212b", "\u2126", "\uf900", "\u1f77", "\ufb1d", "\u0958"])
def test_characters_that_no_form_has_say_nothing(other):
    for form in ("NFC", "NFD"):
        detector = FormDetector()
        detector.add(unicodedata.normalize(form, "café ") + other)
        assert detector.form == form


def test_a_letter_and_a_mark_of_two_documents_are_not_one_letter():
    detector = FormDetector()
    for text in ("cafe", "\u0301tude"):
        detector.add(text)
        detector.end_document()
    assert detector.form == "NFC"


def test_a_million_marks_are_read_in_bounded_memory():
    sizes = [len(text) for text in texts_in_form(["\u0301" * 1000] * 1000, "NFC")]
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 1064
