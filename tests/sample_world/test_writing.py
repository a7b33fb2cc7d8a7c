"""Written texts follow the probabilities of the grammar, and the committed corpus is one of them."""

import hashlib
import math
import re
from collections import Counter

from gru_complete.sample_world.grammar import ARTICLE_SEPARATOR
from gru_complete.sample_world.pairs import sentences
from gru_complete.sample_world.probability import log2_probability
from gru_complete.sample_world.writing import generate


def test_a_sample_has_the_entropy_of_the_closed_form(toy_articles, toy):
    costs = [-math.log2(p) for p in toy_articles.values()]
    entropy = sum(p * cost for p, cost in zip(toy_articles.values(), costs, strict=True))
    variance = sum(p * (cost - entropy) ** 2 for p, cost in zip(toy_articles.values(), costs, strict=True))
    sample = generate(60_000, seed=4, grammar=toy)
    count = sample.count(ARTICLE_SEPARATOR) + 1
    mean = -log2_probability(sample, grammar=toy) / count
    assert abs(mean - entropy) < 4 * math.sqrt(variance / count)


def test_each_text_is_as_frequent_as_its_probability(toy_articles, toy):
    articles = generate(100_000, seed=5, grammar=toy).removesuffix("\n").split(ARTICLE_SEPARATOR)
    counts = Counter(articles)
    assert set(counts) == set(toy_articles)
    chi_square = sum((counts[text] - len(articles) * p) ** 2 / (len(articles) * p) for text, p in toy_articles.items())
    assert chi_square < 60  # 23 degrees of freedom


def test_the_same_seed_writes_the_same_text_and_another_seed_another():
    assert generate(3_000, seed=9) == generate(3_000, seed=9) != generate(3_000, seed=10)
    assert generate(1, seed=9).count(ARTICLE_SEPARATOR) == 0


def test_the_committed_corpus_is_what_the_grammar_writes(corpus):
    written = generate(1_000_000, seed=1)
    assert hashlib.sha256(written.encode()).hexdigest() == hashlib.sha256(corpus.encode()).hexdigest()


def test_the_corpus_has_many_words_and_its_last_tenth_is_new(corpus):
    assert len(set(re.findall(r"[a-z]+", corpus.lower()))) >= 3_000
    cut = len(corpus) * 9 // 10
    seen = set(sentences(corpus[:cut]))
    held_out = sentences(corpus[cut:])
    assert sum(sentence in seen for sentence in held_out) <= 0.2 * len(held_out)
