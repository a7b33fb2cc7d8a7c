"""A world small enough to list all its articles, and the committed sample data."""

import json
from pathlib import Path

import pytest

from gru_complete.sample_world.grammar import compile_grammar

DATA = Path(__file__).parents[2] / "data"

TOY = compile_grammar(
    """
table gender he  his
             he  his
             she her

contrast pronoun
  gender.he

rule article
  3 {P:gender}{P.He} [does] {P.his} {X=animal}.
  1 {X=animal} {X}, {P:gender}{P:gender!P}{P.he}?

rule does
  2 sees
  1 feeds [number]
  1 sees

words number
  one*3 two

words animal
  ox*3 oxen cat
"""
)
WORDS = {"sees": 3 / 4, "feeds one": 3 / 16, "feeds two": 1 / 16}  # "sees" has two derivations
ANIMALS = {"ox": 3 / 5, "oxen": 1 / 5, "cat": 1 / 5}
TOY_ARTICLES = {
    f"{he} {does} {his} {animal}.": 3 / 4 / 2 * p_does * p_animal
    for he, his in (("He", "his"), ("She", "her"))
    for does, p_does in WORDS.items()
    for animal, p_animal in ANIMALS.items()
} | {f"{animal} {animal}, {he}?": 1 / 4 / 2 * p for animal, p in ANIMALS.items() for he in ("he", "she")}


@pytest.fixture(scope="session")
def toy():
    """A world with 24 articles."""
    return TOY


@pytest.fixture(scope="session")
def toy_articles():
    """The probability of each article of the toy world, computed by hand."""
    return TOY_ARTICLES


@pytest.fixture(scope="session")
def corpus():
    """The committed corpus."""
    return (DATA / "watson.txt").read_bytes().decode()


@pytest.fixture(scope="session")
def pairs():
    """The committed minimal pairs."""
    return [json.loads(line) for line in (DATA / "watson-pairs.jsonl").read_text(encoding="utf-8").splitlines()]
