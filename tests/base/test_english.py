"""The model that is shipped: its size, what it must not know, and what it knows of the lectures' sentences."""

import re
from pathlib import Path

import numpy as np
import pytest

import gru_complete as gru
from gru_complete.model.directory import load_model

BASE = Path(__file__).parents[2] / "gru_complete" / "base" / "english"
MAX_BYTES = 12_000_000
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December|Chapter|Apollo"
PRIVATE = {
    "an e-mail address": r"[\w.]@\w",
    "a telephone number": r"\d{3}[-. )]+\d{4}|\+\d{2}",
    "a long number": r"\d{7}",
    "a name with a number": rf"(?!{MONTHS})\b[A-Z][a-z]+ (?!{MONTHS})[A-Z][a-z]+,? \d{{3}}",
}


@pytest.fixture(scope="module")
def english():
    return load_model(BASE)


@pytest.fixture(scope="module")
def model():
    return gru.load(BASE)


def phrases_with_numbers_or_signs(model):
    """All stored phrases of two and more tokens that have a digit or an @."""
    pieces = model.tokenizer.pieces
    matters = np.array([any(byte in b"0123456789@" for byte in piece) for piece in pieces])
    levels = model.mixture.ngrams.trie.levels
    texts, flags = list(pieces), matters
    for shorter, longer in zip(levels, levels[1:], strict=False):
        parents = np.repeat(np.arange(len(shorter.tokens)), np.diff(shorter.first))
        flags = flags[parents] | matters[longer.tokens]
        new = [b""] * len(longer.tokens)
        for index in range(len(new)):
            new[index] = texts[parents[index]] + pieces[longer.tokens[index]]
        texts = new
        yield from (texts[index].decode(errors="replace") for index in np.flatnonzero(flags))


def test_it_is_small_and_stands_alone(english):
    assert sum(path.stat().st_size for path in BASE.iterdir()) <= MAX_BYTES
    assert english.manifest.base is None
    assert english.manifest.is_finished


def test_none_of_its_phrases_says_anything_of_anybody(english):
    phrases = list(phrases_with_numbers_or_signs(english))
    assert len(phrases) > 1_000
    found = {kind: [phrase for phrase in phrases if re.search(form, phrase)] for kind, form in PRIVATE.items()}
    assert found == dict.fromkeys(PRIVATE, [])


WATSON = (
    "Mr Watson goes on a business trip every Wednesday. He always takes a flight to New York, and on every trip "
    "her wife wishes him good luck."
)


def test_it_finds_the_wrong_word_of_the_lecture(model):
    (finding,) = [finding for finding in model.check(WATSON) if finding.word == "her"]
    assert finding.alternatives[0].word == "his"


@pytest.mark.parametrize("between", ["", ", which already ate,", ", which had already eaten a whole bowl of food,"])
@pytest.mark.parametrize(("subject", "verb", "other"), [("cat", "was", "were"), ("cats", "were", "was")])
def test_a_verb_agrees_with_its_subject_over_a_relative_clause(model, subject, verb, other, between):
    probability = {word.text: word.probability for word in model.words(f"The {subject}{between} ", k=1000)}
    assert probability[verb] > probability.get(other, 0)


def test_it_completes_a_sentence(model):
    assert re.fullmatch(r" [\w ,;'\"-]+[.!?][\"']?", str(model.complete("The weather was", seed=1)))
