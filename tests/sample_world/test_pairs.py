"""Minimal pairs: one word apart, new to the corpus, spread evenly, and as committed."""

import math
from collections import Counter

import pytest

from gru_complete.errors import UsageError
from gru_complete.sample_world.grammar import compile_grammar
from gru_complete.sample_world.pairs import DISTANCE_BUCKETS, MIN_CONTRAST_BITS, minimal_pairs, sentences
from gru_complete.sample_world.probability import log2_prefix_probability


def test_pairs_differ_in_one_word_and_have_no_sentence_of_the_corpus(corpus, pairs):
    known = set(sentences(corpus))
    assert len(pairs) >= 2_000
    assert len({pair["right"] for pair in pairs}) == len(pairs)
    for pair in pairs:
        right, wrong = pair["right"].split(" "), pair["wrong"].split(" ")
        assert len(right) == len(wrong)
        assert sum(map(str.__ne__, right, wrong)) == 1
        assert 1 <= pair["distance"] <= 60
        assert known.isdisjoint(sentences(pair["right"]))


def test_pairs_are_spread_over_phenomena_and_distances(pairs):
    counts = Counter(
        (pair["phenomenon"], next(end for end in DISTANCE_BUCKETS if pair["distance"] <= end)) for pair in pairs
    )
    assert {phenomenon for phenomenon, _ in counts} == {"pronoun gender", "verb number", "topic"}
    assert len(counts) == 3 * len(DISTANCE_BUCKETS)
    assert min(counts.values()) >= len(pairs) / len(counts) / 2


def test_the_right_text_is_more_probable(pairs):
    for pair in pairs[:: len(pairs) // 150]:
        right, wrong = log2_prefix_probability(pair["right"]), log2_prefix_probability(pair["wrong"])
        assert right > -math.inf
        assert right - wrong >= MIN_CONTRAST_BITS


def test_the_committed_pairs_are_what_the_grammar_writes(corpus, pairs):
    fewer = minimal_pairs(21, seed=2, exclude=set(sentences(corpus)))
    assert len(fewer) == 21
    assert fewer == minimal_pairs(21, seed=2, exclude=set(sentences(corpus)))
    assert vars(fewer[0]) == pairs[0]


def test_distance_counts_words_from_the_nearest_cue():
    grammar = compile_grammar(
        """
table gender Mr  he
             Mr  he
             Mrs she
contrast pronoun
  gender.he
rule article
  {P:gender}{P.Mr} [name] walks, and {P.he} sings while {P.he} works.
words name
  Ann*2 Bo
"""
    )
    pairs = minimal_pairs(8, seed=1, grammar=grammar)
    assert {(pair.right.count(" "), pair.distance) for pair in pairs} == {(4, 4), (8, 3)}
    assert "Mrs Bo walks, and she sings while she works." in {pair.right for pair in pairs}
    assert "Mrs Bo walks, and she sings while he works." in {pair.wrong for pair in pairs}
    with pytest.raises(UsageError, match="only 8 of 9"):
        minimal_pairs(9, seed=1, grammar=grammar)
