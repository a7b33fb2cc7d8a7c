"""The n-gram model's probabilities against a slow reference of dictionaries."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from gru_complete.ngrams import counts
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.evidence import CUT_OFF, total_nats
from gru_complete.ngrams.trie import MAX_ORDER
from tests.ngrams.streams import V, random_stream

DISCOUNTS = np.array([[0.3, 0.6, 0.9], [0.5, 0.8, 1.1], [0.6, 1.0, 1.3], [0.7, 1.1, 1.4]], np.float32)


def grams(stream, length):
    """Every n-gram of this length that has no document end within its context."""
    for end in range(max(length - 1, 1), len(stream)):
        gram = tuple(stream[end - length + 1 : end + 1].tolist())
        if 0 not in gram[1:-1]:
            yield gram


class SlowNGrams:
    """Kneser-Ney as in the books, from dictionaries."""

    def __init__(self, stream, order, discounts):
        self.order, self.discounts = order, discounts
        seen = [Counter(grams(stream, k)) for k in range(1, order + 1)]
        self.counts = [dict(counter) for counter in seen]
        for k in range(order - 1):
            before = Counter(gram[1:] for gram in seen[k + 1])
            self.counts[k] = {gram: before.get(gram) or seen[k][gram] for gram in seen[k]}
        self.followers = defaultdict(dict)
        for counted in self.counts:
            for gram, count in counted.items():
                self.followers[gram[:-1]][gram[-1]] = count

    def probability(self, context, token):
        shorter = self.probability(context[1:], token) if context else 1 / V
        followers = self.followers.get(context)
        if not followers:
            return shorter
        total = sum(followers.values())
        shares = {w: c - self.discounts[len(context)][min(c, 3) - 1] for w, c in followers.items()}
        return shares.get(token, 0) / total + (1 - sum(shares.values()) / total) * shorter


def context_at(stream, end, order):
    """The tokens that may be used to predict the one at ``end``."""
    context = tuple(stream[max(0, end - order + 1) : end].tolist())
    for place in range(len(context) - 1, 0, -1):
        if context[place] == 0:
            return context[place:]
    return context


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_scores_are_those_of_the_slow_reference(order):
    stream, other = random_stream(0), random_stream(1, 100)
    arrays = count_ngrams(stream, vocab_size=V, order=order).to_arrays() | {"discounts": DISCOUNTS[:order]}
    reading, slow = NGrams.from_arrays(arrays, V).score_stream(other), SlowNGrams(stream, order, DISCOUNTS)
    for end in range(1, len(other)):
        context, token = context_at(other, end, order), other[end].item()
        assert reading.probabilities[end - 1] == pytest.approx(slow.probability(context, token), rel=1e-5)
        longest = max(n for n in range(len(context) + 1) if slow.followers.get(context[len(context) - n :]))
        assert reading.lengths[end - 1] == longest
        followers = slow.followers[context[len(context) - longest :]]
        assert reading.totals[end - 1] == sum(followers.values())
        if longest:
            assert reading.num_followers[end - 1] == len(followers)


@pytest.mark.parametrize("max_bytes", [None, 700])
def test_one_token_at_a_time_equals_the_whole_stream(max_bytes):
    ngrams = count_ngrams(random_stream(3, 2000), vocab_size=V, order=5, max_bytes=max_bytes)
    stream = random_stream(4, 200)
    reading, all_nodes = ngrams.score_stream(stream), ngrams.contexts(stream)
    rows = ngrams.distributions(all_nodes)
    nodes = ngrams.empty_context()
    np.testing.assert_allclose(ngrams.distribution(nodes).sum(), 1, rtol=1e-6)
    for place, token in enumerate(stream.tolist()):
        nodes = ngrams.advance(nodes, token)
        assert nodes == tuple(all_nodes[place])
        row = ngrams.distribution(nodes)
        assert row.dtype == np.float32
        assert row.min() > 0
        assert row.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(rows[place], row, atol=1e-6)
        if place < len(stream) - 1:
            assert row[stream[place + 1]] == pytest.approx(reading.probabilities[place], abs=1e-6)
            found = reading.lengths[place], reading.totals[place], reading.num_followers[place]
            assert ngrams.evidence(nodes) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("number", [1, 5, 30, 200])
def test_a_batched_lookup_equals_single_lookups(order, number):
    ngrams = count_ngrams(random_stream(3, 2000), vocab_size=V, order=order, max_bytes=700)
    contexts = [tuple(nodes) for nodes in ngrams.contexts(random_stream(4, 300)).tolist()[:number]]
    rows, found = ngrams.distributions_and_evidence(contexts)
    assert rows.dtype == np.float32
    for nodes, row, context in zip(contexts, rows, found.to_list(), strict=True):
        expected, expected_context = ngrams.distribution_and_evidence(nodes)
        np.testing.assert_allclose(row, expected, rtol=1e-5)
        assert context == pytest.approx(expected_context, rel=1e-9)


def test_scoring_can_continue_where_it_stopped():
    ngrams = count_ngrams(random_stream(5, 1000), vocab_size=V, order=4)
    stream = random_stream(6, 100)
    start = tuple(ngrams.contexts(stream)[39])
    np.testing.assert_array_equal(ngrams.contexts(stream[40:], start), ngrams.contexts(stream)[40:])
    np.testing.assert_array_equal(
        ngrams.score_stream(stream[40:], start).probabilities, ngrams.score_stream(stream).probabilities[40:]
    )


def test_a_context_does_not_reach_beyond_a_document_end():
    ngrams = count_ngrams(random_stream(7, 1000), vocab_size=V, order=4)
    after = [ngrams.contexts(np.array(before, np.uint16))[-1] for before in ([0, 3, 1, 0, 2], [2, 2, 0, 2], [0, 2])]
    np.testing.assert_array_equal(after[0], after[1])
    np.testing.assert_array_equal(after[0], after[2])


def test_an_empty_stream_gives_every_token_the_same_chance():
    for stream in ([], [0], [3]):
        ngrams = count_ngrams(np.array(stream, np.uint16), vocab_size=V)
        np.testing.assert_allclose(ngrams.distribution(ngrams.advance(ngrams.empty_context(), 2)), 1 / V, rtol=1e-6)


def test_a_stream_scored_in_blocks_gives_what_it_gives_at_once(monkeypatch):
    stream = random_stream(17, 1000)
    ngrams = count_ngrams(stream, vocab_size=V)
    expected = ngrams.score_stream(stream)
    monkeypatch.setattr(counts, "BLOCK_TOKENS", 64)
    reading = ngrams.score_stream(stream)
    for name, values in expected._asdict().items():
        np.testing.assert_array_equal(getattr(reading, name), values)


@pytest.mark.parametrize("chunk_len", [1, 7, 1 << 16])
def test_total_nats_do_not_depend_on_the_chunks(chunk_len):
    ngrams, stream = count_ngrams(random_stream(16, 1000), vocab_size=V), random_stream(18, 200)
    expected = -np.log(ngrams.score_stream(stream).probabilities.astype(np.float64)).sum()
    assert total_nats(ngrams, stream, chunk_len=chunk_len) == pytest.approx(expected, rel=1e-6)


def test_a_model_too_small_for_any_context_still_scores_a_stream():
    stream = random_stream(10, 300)
    ngrams = count_ngrams(stream, vocab_size=V, max_bytes=0)
    assert len(ngrams.to_arrays()["counts.2"]) == 0
    scores = ngrams.score_stream(stream)
    np.testing.assert_allclose(scores.probabilities, ngrams.distribution(ngrams.empty_context())[stream[1:]], rtol=1e-6)


def test_the_most_certain_context_leaves_every_token_a_chance():
    ngrams = count_ngrams(np.ones(300_000, np.uint16), vocab_size=V, order=MAX_ORDER)
    nodes = ngrams.contexts(np.ones(20, np.uint16))
    assert ngrams.distribution(tuple(nodes[-1].tolist())).min() > 0
    assert ngrams.distributions(nodes).min() > 0
    assert ngrams.score_stream(np.array([1] * 10 + [2], np.uint16)).probabilities[-1] > 0


@pytest.mark.parametrize("order", [1, 2, 4])
def test_frequencies_are_those_of_the_tokens(order):
    stream = np.concatenate([random_stream(seed, 400) for seed in range(5)])
    counted = np.bincount(stream[1:], minlength=V) + 0.5
    frequencies = count_ngrams(stream, vocab_size=V, order=order).token_frequencies()
    np.testing.assert_allclose(frequencies, counted / counted.sum(), rtol=0.1)  # codes are that coarse
    assert frequencies.sum() == pytest.approx(1)


def test_what_always_follows_the_same_token_is_not_less_frequent():
    stream = np.tile(np.array([2, 3, 2, 4, 2, 3]), 50)  # 3 only ever follows 2
    frequencies = count_ngrams(stream, vocab_size=V).token_frequencies()
    assert frequencies[3] == pytest.approx(100 / len(stream), rel=0.1)


def test_a_model_without_occurrences_takes_the_unigrams_as_frequencies():
    arrays = count_ngrams(random_stream(), vocab_size=V, order=3).to_arrays()
    del arrays["occurrences"]
    counts = NGrams.from_arrays(arrays, V)
    np.testing.assert_allclose(counts.token_frequencies(), counts.distribution(counts.empty_context()), rtol=1e-5)


# ---------------------------------------------------------------------------------------- beginnings that cut off


def after(ngrams, *tokens):
    context = ngrams.cut_off_context()
    for token in tokens:
        context = ngrams.advance(context, token)
    return context


@pytest.mark.parametrize("seed", range(20))
def test_at_a_beginning_followers_are_counted_by_their_occurrences(seed):
    stream = random_stream(seed=seed)
    stream[1:-1] = np.maximum(stream[1:-1], 1)  # one document: what ends one is counted by what comes before it
    ngrams = count_ngrams(stream, vocab_size=V, order=4)
    for length in (1, 2, 3):
        occurrences = defaultdict(Counter)
        for gram in grams(stream, length + 1):
            occurrences[gram[:-1]][gram[-1]] += 1
        for context, followers in occurrences.items():
            if 0 in context:
                continue
            node = after(ngrams, *context)[length - 1]
            found = ngrams.trie.occurrences_after(length - 1, node)
            for (token, number), counted in zip(sorted(followers.items()), found.tolist(), strict=True):
                if number < 128:  # more are stored in steps
                    assert counted == number, (context, token)


@pytest.mark.parametrize("seed", range(10))
def test_what_always_follows_the_same_token_is_as_likely_as_it_occurs_where_a_prompt_begins_with_it(seed):
    """As in records of fixed keys: the token 1 and then 2 come before 3 nine times of ten, else before 4, 5, ..."""
    generator = np.random.default_rng(seed)
    values = np.where(generator.random(400) < 0.9, 3, generator.integers(4, V, 400))
    stream = np.array([0, *(token for value in values for token in (1, 2, value)), 0], np.uint16)
    ngrams = count_ngrams(stream, vocab_size=V, order=5)
    share = np.mean(values == 3)
    assert ngrams.distribution(after(ngrams, 2))[3] == pytest.approx(share, abs=0.03)
    assert ngrams.distribution(after(ngrams, 1, 2))[3] == pytest.approx(share, abs=0.03)
    unseen_before = ngrams.advance(ngrams.advance(ngrams.empty_context(), 5), 2)
    assert ngrams.distribution(unseen_before)[3] < 0.3  # where the longer context was never seen, all values are alike


def test_of_many_documents_a_beginning_is_looked_up_as_that_of_one_if_any_begins_like_it():
    few = count_ngrams(np.array([0, *[1, 2, 3, 0] * 20], np.uint16), vocab_size=V, order=4)
    assert after(few, 1) == (1, CUT_OFF, CUT_OFF)
    stream = np.array([0, *[1, 2, 3, 0] * 100, 4, 2, 5, 0], np.uint16)
    ngrams = count_ngrams(stream, vocab_size=V, order=4)
    assert ngrams.distribution(after(ngrams, 1, 2))[3] > 0.9
    assert ngrams.distribution(after(ngrams, 4, 2))[5] > 0.3
    assert after(ngrams, 3)[1] == CUT_OFF  # no document begins with 3, and what comes before it is not known
    assert after(ngrams, 1)[1] >= 0


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_cut_off_distributions_are_distributions_one_by_one_and_side_by_side(order):
    stream = random_stream(seed=3)
    ngrams = count_ngrams(stream, vocab_size=V, order=order)
    contexts = [after(ngrams, *stream[place : place + length]) for place in range(1, 30) for length in range(5)]
    contexts += [ngrams.advance(ngrams.empty_context(), token) for token in range(V)]
    rows, evidence = ngrams.distributions_and_evidence(contexts)
    assert len(contexts) > counts._MIN_BATCH
    for row, known, context in zip(rows, evidence.to_list(), contexts, strict=True):
        alone, known_alone = ngrams.distribution_and_evidence(context)
        assert alone.min() > 0
        assert alone.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(row, alone, rtol=1e-5)
        assert known == pytest.approx(known_alone)
        assert ngrams.evidence(context) == known_alone
