"""Typographic variants: read as the model knows them, reported as the text has them."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.checking.typography import VARIANTS, VariantReader, as_written, plain
from gru_complete.checking.unusual_words import WordChecker
from gru_complete.runtime.completer import Completer


def reader_of(frequencies):
    """What a model reads whose tokens are these characters, with these frequencies."""
    total = sum(frequencies.values())
    pieces = [b"", b"\xe2", *(char.encode() for char in frequencies)]
    return VariantReader(pieces, np.array([-30.0, -30.0, *(math.log(share / total) for share in frequencies.values())]))


TYPEWRITER = {"e": 100, " ": 60, "'": 8, '"': 8, "-": 4}
CURLY = {"e": 100, " ": 60, "’": 8, "‘": 2, "“": 4, "”": 4, "-": 2, "—": 4}
GERMAN = {"e": 100, " ": 60, "’": 1, "‚": 1, "‘": 1, "„": 4, "“": 4, "–": 4, "-": 3}
MIXED = {"e": 100, " ": 60, "'": 4, "’": 4, '"': 8, "“": 2, "”": 2, "-": 3, "—": 1}

SAID = "“Don’t go,” said Watson’s wife – ‘no!’"


@pytest.mark.parametrize("written", [SAID, SAID.replace("“", "«").replace("”", "»"), plain(SAID)])
def test_a_text_is_read_with_the_marks_that_the_model_knows(written):
    assert reader_of(TYPEWRITER).read(written, "") == "\"Don't go,\" said Watson's wife - 'no!'"
    assert reader_of(CURLY).read(written, "").replace("–", "-").replace("—", "-") == SAID.replace("–", "-")


def test_a_straight_quote_is_read_by_what_is_before_it():
    assert reader_of(CURLY).read("(\"'No,' it's\")", "") == "(“‘No,’ it’s”)"
    assert reader_of(GERMAN).read('("No," he said)', "") == "(„No,“ he said)"
    assert reader_of(CURLY).read('"', "a") == "”"
    assert reader_of(CURLY).read('"', " ") == "“"


def test_a_space_of_any_width_is_a_space_where_the_model_knows_no_other():
    for char in VARIANTS[3]:
        assert reader_of(TYPEWRITER).read(f"Mr.{char}Watson", "") == "Mr. Watson"
    knows_both = reader_of({**TYPEWRITER, "\u00a0": 20})
    assert knows_both.read("a\u00a0b\u202fc", "") == "a\u00a0b c"


def test_what_the_model_knows_in_several_forms_is_left_as_it_is():
    mixed = reader_of(MIXED)
    for text in ("it’s", "it's", "“so”", '"so"', "a—b", "a-b"):
        assert mixed.read(text, "") == text


@given(
    st.text(alphabet="".join(VARIANTS) + "ab (\n字", max_size=60), st.sampled_from([TYPEWRITER, CURLY, GERMAN, MIXED])
)
def test_every_character_stays_one_and_reading_does_not_depend_on_cuts(text, frequencies):
    reader = reader_of(frequencies)
    read = reader.read(text, "")
    assert len(read) == len(text)
    assert plain(read) == plain(text)
    assert "".join(reader.read(char, before) for char, before in zip(text, ["", *read], strict=False)) == read


def test_an_alternative_has_the_marks_of_the_word_in_the_text():
    assert as_written("don't", "can't", "can’t") == "don’t"
    assert as_written("don't", "cannot", "cannot") == "don't"


def varied(text, draw):
    """The text with each mark and each space in one of its forms."""
    kinds = {kind[0]: kind for kind in VARIANTS}
    return "".join(draw.choice(kinds[char]) if char in kinds else char for char in text)


def test_variants_change_no_finding(trained_model):
    checker = WordChecker(Completer.load(trained_model), threshold=0.3)
    words = [
        "the",
        "old",
        "cat",
        "saw",
        "a",
        "small",
        "bird's",
        "house",
        "near",
        "river",
        "and",
        "it's",
        "red",
        "ate",
        "-",
    ]
    found = 0
    for seed in range(6):
        draw = random.Random(seed)
        text = f'The {" ".join(draw.choices(words, k=12))}. "The cat {" ".join(draw.choices(words, k=6))}."'
        straight, typographic = (list(checker.findings([version])) for version in (text, varied(text, draw)))
        assert [one._replace(word="", alternatives=()) for one in straight] == [
            one._replace(word="", alternatives=()) for one in typographic
        ]
        for one, other in zip(straight, typographic, strict=True):
            assert plain(other.word) == one.word
            assert [alternative.odds for alternative in other.alternatives] == [each.odds for each in one.alternatives]
        found += len(straight)
    assert found > 3


def test_a_word_in_another_form_is_no_alternative_to_itself(trained_model):
    checker = WordChecker(Completer.load(trained_model), threshold=1e-6)
    for finding in checker.findings(["The cat’s house. The cat's house. The ‘cat’ saw “the” bird."]):
        assert plain(finding.word) not in {plain(alternative.word) for alternative in finding.alternatives}
