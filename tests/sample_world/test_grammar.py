"""The notation of grammars: word forms, and what is refused."""

import math

import pytest

from gru_complete.errors import UsageError
from gru_complete.sample_world.grammar import compile_grammar
from gru_complete.sample_world.probability import log2_probability


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("rule article\n  [nothing]", "no rule nothing"),
        ("rule article\n  a [article]", "needs itself"),
        ("rule article\n  [w]\nwords w\n  a a", "says a twice"),
        ("rule article\n  {X.he}", "never chooses"),
        ("table t he\n  he\nrule article\n  {X:t}{X.her}", "no column her"),
        ("words v\n  a\nwords w\n  b\nrule article\n  {X=v}{X=w}", "two lists"),
    ],
)
def test_a_broken_grammar_is_refused_with_the_reason(source, complaint):
    with pytest.raises(UsageError, match=complaint):
        compile_grammar(source)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("a", {"hour": "an hour", "unicorn": "a unicorn", "owl": "an owl", "cat": "a cat"}),
        ("A", {"hour": "An hour", "cat": "A cat"}),
        (
            "s",
            {
                "cat": "cats",
                "leaf/leaves": "leaves",
                "city": "cities",
                "toy": "toys",
                "box": "boxes",
                "watch": "watches",
            },
        ),
        ("d", {"paint": "painted", "move": "moved", "carry": "carried", "enjoy": "enjoyed"}),
        ("g", {"paint": "painting", "move": "moving", "carry": "carrying", "guarantee": "guaranteeing"}),
        (
            "l",
            {
                "quiet": "quietly",
                "gentle": "gently",
                "happy": "happily",
                "shy": "shyly",
                "dull": "dully",
                "rustic": "rustically",
            },
        ),
    ],
)
def test_words_are_inflected_by_rule(form, words):
    grammar = compile_grammar(f"rule article\n  [{form}:word]\nwords word\n  {' '.join(words)}")
    assert all(log2_probability(text, grammar=grammar) == -math.log2(len(words)) for text in words.values())
