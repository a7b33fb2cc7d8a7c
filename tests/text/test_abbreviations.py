import pytest

from gru_complete.text import abbreviations
from gru_complete.text.abbreviations import find_abbreviations


def test_abbreviations_are_short_words_mostly_followed_by_a_period_and_a_word():
    text = (
        b"Then Mr. Holmes met Dr. Watson and St. Paul in Tunbridge. They saw them, etc. and so on.\n" * 12
        + b"St John and etc etc\n" * 2  # too often without a period
        + b"Prof. Moriarty\n" * 9  # too rare
    )
    assert find_abbreviations([text]) == ["Dr", "Mr"]
    assert find_abbreviations(text[start : start + 7] for start in range(0, len(text), 7)) == ["Dr", "Mr"]


def test_a_mark_belongs_to_the_word_of_its_letter():
    text = "De Stee\u0301. Marie a Ste\u0301. Anne au cafe\u0301 de la gare.\n" * 12
    assert find_abbreviations([text.encode()]) == ["Stee\u0301", "Ste\u0301"]


@pytest.mark.parametrize(
    "sentences", ["그는 집에 있다. 나는 갔다. ", "वह घर है. वह आती है. ", "הוא בא. היא בבית. "], ids=ascii
)
def test_words_without_capitals_are_none_since_verbs_would_be(sentences):
    assert find_abbreviations([sentences.encode() * 20]) == []


def test_abbreviations_take_bounded_memory_and_time(monkeypatch):
    monkeypatch.setattr(abbreviations, "_MAX_WORDS_COUNTED", 100)
    letters = "abcdefghijklmnop"
    rare = " ".join(a + b + c for a in letters for b in letters for c in letters).encode()
    blocks = [b"Mr. Holmes said to Mr. Watson: " * 400, rare, b"\n", rare, b"Mr. X\n"]
    assert find_abbreviations(blocks) == ["Mr"]
    assert find_abbreviations([b"x" * 3_000_000, b"x" * 3_000_000]) == []
    monkeypatch.setattr(abbreviations, "_ABBREVIATION_BYTES", 10)
    assert find_abbreviations([b"Mr. Holmes " * 100]) == []
