"""The sample world: exact probabilities on worlds small enough to list, and the promises that the data files keep."""

import hashlib
import itertools
import json
import math
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.errors import CorpusError, UsageError
from gru_complete.sample_world import __main__
from gru_complete.sample_world.grammar import ARTICLE_SEPARATOR, compile_grammar
from gru_complete.sample_world.pairs import DISTANCE_BUCKETS, MIN_CONTRAST_BITS, minimal_pairs, sentences
from gru_complete.sample_world.probability import bits_per_byte, log2_prefix_probability, log2_probability
from gru_complete.sample_world.writing import generate

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


def test_attributes_agree_and_probabilities_sum_to_one():
    assert sum(TOY_ARTICLES.values()) == pytest.approx(1)
    for text, p in TOY_ARTICLES.items():
        assert 2 ** log2_probability(text, grammar=TOY) == pytest.approx(p)


@pytest.mark.parametrize(
    "text", ["", "He", "He sees her ox.", "she sees her ox.", "ox cat, he?", "He sees his ox. ", "He sees his ox.\n\n"]
)
def test_what_the_grammar_cannot_write_is_impossible(text):
    assert log2_probability(text, grammar=TOY) == -math.inf


@given(st.sampled_from(sorted(TOY_ARTICLES)), st.integers(0, 30))
def test_prefix_probability_is_the_mass_of_all_texts_that_begin_so(text, length):
    prefix = text[:length]
    mass = sum(p for article, p in TOY_ARTICLES.items() if article.startswith(prefix))
    assert 2 ** log2_prefix_probability(prefix, grammar=TOY) == pytest.approx(mass)


def test_articles_are_independent_and_blank_lines_are_free():
    first, second = sorted(TOY_ARTICLES)[:2]
    both = log2_probability(first + ARTICLE_SEPARATOR + second + "\n", grammar=TOY)
    assert 2**both == pytest.approx(TOY_ARTICLES[first] * TOY_ARTICLES[second])
    assert log2_prefix_probability(first + ARTICLE_SEPARATOR, grammar=TOY) == pytest.approx(
        math.log2(TOY_ARTICLES[first])
    )


def test_a_sample_has_the_entropy_of_the_closed_form():
    costs = [-math.log2(p) for p in TOY_ARTICLES.values()]
    entropy = sum(p * cost for p, cost in zip(TOY_ARTICLES.values(), costs, strict=True))
    variance = sum(p * (cost - entropy) ** 2 for p, cost in zip(TOY_ARTICLES.values(), costs, strict=True))
    sample = generate(60_000, seed=4, grammar=TOY)
    count = sample.count(ARTICLE_SEPARATOR) + 1
    mean = -log2_probability(sample, grammar=TOY) / count
    assert abs(mean - entropy) < 4 * math.sqrt(variance / count)


def test_texts_come_as_often_as_their_probability_says():
    articles = generate(100_000, seed=5, grammar=TOY).removesuffix("\n").split(ARTICLE_SEPARATOR)
    counts = Counter(articles)
    assert set(counts) == set(TOY_ARTICLES)
    chi_square = sum((counts[text] - len(articles) * p) ** 2 / (len(articles) * p) for text, p in TOY_ARTICLES.items())
    assert chi_square < 60  # 23 degrees of freedom


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
def test_a_broken_grammar_says_what_is_broken(source, complaint):
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
def test_word_forms(form, words):
    grammar = compile_grammar(f"rule article\n  [{form}:word]\nwords word\n  {' '.join(words)}")
    assert all(log2_probability(text, grammar=grammar) == -math.log2(len(words)) for text in words.values())


def test_generation_repeats_itself_and_other_seeds_do_not():
    assert generate(3_000, seed=9) == generate(3_000, seed=9) != generate(3_000, seed=10)
    assert generate(1, seed=9).count(ARTICLE_SEPARATOR) == 0


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


def test_mr_and_mrs_watson_go_on_as_he_and_she():
    for title, pronoun, other in (("Mr", " He ", " She "), ("Mrs", " She ", " He ")):
        start = f"{title} Watson goes to Paris on Monday."
        advantage = log2_prefix_probability(start + pronoun) - log2_prefix_probability(start + other)
        assert advantage == math.inf
        assert log2_prefix_probability(f"{title} Watson goes") > -10


@pytest.fixture(scope="module")
def corpus():
    return (DATA / "watson.txt").read_bytes().decode()


@pytest.fixture(scope="module")
def pairs():
    return [json.loads(line) for line in (DATA / "watson-pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_committed_corpus_is_what_the_grammar_writes(corpus):
    written = generate(1_000_000, seed=1)
    assert hashlib.sha256(written.encode()).hexdigest() == hashlib.sha256(corpus.encode()).hexdigest()


def test_the_corpus_is_rich_and_its_end_is_new(corpus):
    assert len(set(re.findall(r"[a-z]+", corpus.lower()))) >= 3_000
    cut = len(corpus) * 9 // 10
    seen = set(sentences(corpus[:cut]))
    held_out = sentences(corpus[cut:])
    assert sum(sentence in seen for sentence in held_out) <= 0.2 * len(held_out)


def test_the_entropy_is_as_promised():
    assert 0.8 <= bits_per_byte(generate(40_000, seed=12)) <= 1.5


def test_a_text_from_elsewhere_has_no_bits_per_byte():
    with pytest.raises(CorpusError, match="cannot write"):
        bits_per_byte("Call me Ishmael.\n")


def test_pairs_differ_in_one_word_and_say_nothing_of_the_corpus(corpus, pairs):
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


def test_the_right_half_is_more_probable(pairs):
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


def test_the_command_line_writes_and_scores(tmp_path, capsys):
    __main__.main(["corpus", str(tmp_path / "fresh.txt"), "--bytes", "2000", "--seed", "3"])
    text = (tmp_path / "fresh.txt").read_bytes().decode()
    assert text == generate(2_000, seed=3)
    __main__.main(["score", str(tmp_path / "fresh.txt")])
    assert float(capsys.readouterr().out) == pytest.approx(bits_per_byte(text), abs=1e-6)
    __main__.main(["pairs", "-", "--count", "3", "--corpus", str(tmp_path / "fresh.txt")])
    assert [json.loads(line)["distance"] for line in capsys.readouterr().out.splitlines()]


def test_the_command_line_explains_its_failures(tmp_path, capsys):
    (tmp_path / "other.txt").write_bytes(b"Call me Ishmael.\n")
    for name, complaint in (("other.txt", "cannot write"), ("none.txt", "cannot read")):
        with pytest.raises(SystemExit) as failure:
            __main__.main(["score", str(tmp_path / name)])
        assert failure.value.code == CorpusError.exit_code
        assert complaint in capsys.readouterr().err


def test_help_names_the_commands():
    command = [sys.executable, "-m", "gru_complete.sample_world", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(word in done.stdout for word in ("corpus", "pairs", "score"))
