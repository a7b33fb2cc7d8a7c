"""Exact probabilities, against worlds small enough to list all their articles."""

import itertools
import math
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.errors import CorpusError
from gru_complete.sample_world.grammar import ARTICLE_SEPARATOR, compile_grammar
from gru_complete.sample_world.probability import bits_per_byte, log2_prefix_probability, log2_probability
from gru_complete.sample_world.writing import generate

AMBIGUOUS = compile_grammar(
    """
rule article
  [part][part]
  [part]
rule part
  2 a
  aa
  1 [letters]a
words letters
  a b
"""
)


def test_probability_is_the_sum_over_all_derivations():
    part = {"a": 2 / 4, "aa": 1 / 4 + 1 / 8, "ba": 1 / 8}
    expected: dict[str, float] = defaultdict(float)
    for text, p in part.items():
        expected[text] += p / 2
    for (first, p), (second, q) in itertools.product(part.items(), repeat=2):
        expected[first + second] += p * q / 2
    assert sum(expected.values()) == pytest.approx(1)
    for text, p in expected.items():
        assert 2 ** log2_probability(text, grammar=AMBIGUOUS) == pytest.approx(p)


def test_attributes_agree_and_probabilities_sum_to_one(toy_articles, toy):
    assert sum(toy_articles.values()) == pytest.approx(1)
    for text, p in toy_articles.items():
        assert 2 ** log2_probability(text, grammar=toy) == pytest.approx(p)


@pytest.mark.parametrize(
    "text", ["", "He", "He sees her ox.", "she sees her ox.", "ox cat, he?", "He sees his ox. ", "He sees his ox.\n\n"]
)
def test_a_text_that_the_grammar_cannot_write_is_impossible(text, toy):
    assert log2_probability(text, grammar=toy) == -math.inf


@given(index=st.integers(0, 23), length=st.integers(0, 30))
def test_prefix_probability_is_the_mass_of_all_texts_with_that_beginning(toy_articles, toy, index, length):
    prefix = sorted(toy_articles)[index][:length]
    mass = sum(p for article, p in toy_articles.items() if article.startswith(prefix))
    assert 2 ** log2_prefix_probability(prefix, grammar=toy) == pytest.approx(mass)


def test_articles_are_independent_and_blank_lines_are_free(toy_articles, toy):
    first, second = sorted(toy_articles)[:2]
    both = log2_probability(first + ARTICLE_SEPARATOR + second + "\n", grammar=toy)
    assert 2**both == pytest.approx(toy_articles[first] * toy_articles[second])
    assert log2_prefix_probability(first + ARTICLE_SEPARATOR, grammar=toy) == pytest.approx(
        math.log2(toy_articles[first])
    )


def test_every_generated_text_has_a_probability():
    sample = generate(12_000, seed=11)
    assert len(sample.encode()) >= 12_000
    assert -math.inf < log2_probability(sample) < 0
    for cut in (0, 1, 40, 500, 2_000):
        assert log2_prefix_probability(sample[:cut]) >= log2_prefix_probability(sample[: cut + 20]) > -math.inf


def test_next_character_probabilities_sum_to_one():
    start = "Mrs Watson goes to Paris on Monday. "
    known = log2_prefix_probability(start)
    alphabet = {chr(code) for code in range(32, 127)}
    total = sum(2 ** (log2_prefix_probability(start + letter) - known) for letter in alphabet)
    assert total == pytest.approx(1)


def test_mr_and_mrs_watson_continue_as_he_and_she():
    for title, pronoun, other in (("Mr", " He ", " She "), ("Mrs", " She ", " He ")):
        start = f"{title} Watson goes to Paris on Monday."
        advantage = log2_prefix_probability(start + pronoun) - log2_prefix_probability(start + other)
        assert advantage == math.inf
        assert log2_prefix_probability(f"{title} Watson goes") > -10


def test_the_entropy_is_as_promised():
    assert 0.8 <= bits_per_byte(generate(40_000, seed=12)) <= 1.5


def test_a_text_of_another_world_has_no_bits_per_byte():
    with pytest.raises(CorpusError, match="cannot write"):
        bits_per_byte("Call me Ishmael.\n")
