import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.runtime.repeats import places, repeating

PIECES = [
    b"",
    *(bytes([value]) for value in range(256)),
    b" that",
    b" th",
    b" the",
    b" ",
    b"that",
    b" that's",
    "日本".encode(),
]


def blocked(text, words=4, pieces=PIECES):
    return [pieces[place] for place in repeating(text.encode(), words, places(pieces))]


def test_the_word_that_followed_the_same_words_before_is_blocked_with_all_its_beginnings():
    assert blocked("Never my doubt that he never had any. Never my doubt") == [b" that", b" th"]


def test_after_the_space_its_letters_are_blocked():
    assert blocked("Never my doubt that he never had any. Never my doubt ") == [b"t", b"that"]


def test_other_words_and_longer_words_may_follow():
    assert {b" ", b" the", b" that's"}.isdisjoint(blocked("Never my doubt that he. Never my doubt"))


def test_continuations_at_several_places_are_all_blocked():
    text = "my great doubt that; my great doubt the; my great doubt"
    assert set(blocked(text)) == {b" that", b" th", b" the"}


@pytest.mark.parametrize(
    "text", ["my great doubt that", "my great doubt that a doubt", "my great doubt that no great doubt"]
)
def test_fewer_words_may_be_repeated(text):
    assert blocked(text) == []
    assert blocked(text, words=0) == []


def test_short_words_count_only_together():
    assert blocked("it is as that it is as") == []
    assert blocked("as it is in it as that as it is in it as") == [b" that", b" th"]


def test_a_phrase_that_ends_within_a_word_elsewhere_is_not_a_repetition():
    assert blocked("Never my doubter that. Never my doubt") == []


def test_a_part_of_a_word_may_be_finished():
    assert blocked("Never my doubt that. Never a dou") == []


@pytest.mark.parametrize("letter", ["日", "ж", "x"])
def test_without_spaces_as_many_letters_as_four_words_have_are_not_repeated(letter):
    phrase = "".join(chr(ord(letter) + index % 2) for index in range(24))
    assert blocked(f"{phrase}that {phrase[1:]}") == []
    assert blocked(f"{phrase}that {phrase}") == [b"t", b"that"]


def test_text_far_back_may_be_repeated():
    phrase = "Never my doubt that "
    assert blocked(phrase + "long ago " * 10 + phrase[:-6]) != []
    assert blocked(phrase + "long ago " * 1000 + phrase[:-6]) == []


PARTS = [" the", " old", " cat", " of", " Holmes", " 日本", "s"]


@given(st.lists(st.sampled_from(PARTS), max_size=60), st.integers(2, 5))
def test_taking_only_what_is_not_blocked_repeats_no_words(parts, words):
    pieces = [part.encode() for part in PARTS]
    text = b""
    for part in parts:
        if PARTS.index(part) not in repeating(text, words, places(pieces)):
            text += part.encode()
    written = text.decode().split(" ")[1:-1]  # more letters may still come to the last word
    runs = [tuple(written[start : start + words]) for start in range(len(written) - words + 1)]
    phrases = [run for run in runs if sum(map(len, run[:-1])) >= 4 * (words - 1)]
    assert len(phrases) == len(set(phrases))
