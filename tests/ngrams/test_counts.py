"""The n-gram memory against a slow reference of dictionaries, and against damaged arrays."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from gru_complete.errors import ModelError
from gru_complete.ngrams import building, counts
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.trie import MAX_ORDER
from gru_complete.storage.tensors import parse_safetensors

V = 7
DISCOUNTS = np.array([[0.3, 0.6, 0.9], [0.5, 0.8, 1.1], [0.6, 1.0, 1.3], [0.7, 1.1, 1.4]], np.float32)


def random_stream(seed=0, length=300, vocab_size=V):
    """Documents of skewed tokens, so that n-grams repeat."""
    tokens = np.random.default_rng(seed).zipf(1.5, length) % vocab_size
    return np.concatenate(([0], tokens, [0])).astype(np.uint16)


def grams(stream, length):
    """Every n-gram of this length; none has a document end within its context."""
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
    """The tokens that may be looked at to predict the one at ``end``."""
    context = tuple(stream[max(0, end - order + 1) : end].tolist())
    for place in range(len(context) - 1, 0, -1):
        if context[place] == 0:
            return context[place:]
    return context


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_what_is_read_is_that_of_the_slow_reference(order):
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
def test_looking_contexts_up_together_is_looking_up_each(order, number):
    ngrams = count_ngrams(random_stream(3, 2000), vocab_size=V, order=order, max_bytes=700)
    contexts = [tuple(nodes) for nodes in ngrams.contexts(random_stream(4, 300)).tolist()[:number]]
    rows, found = ngrams.distributions_and_evidence(contexts)
    assert rows.dtype == np.float32
    for nodes, row, context in zip(contexts, rows, found.to_list(), strict=True):
        expected, expected_context = ngrams.distribution_and_evidence(nodes)
        np.testing.assert_allclose(row, expected, rtol=1e-5)
        assert context == pytest.approx(expected_context, rel=1e-9)


def test_reading_goes_on_where_it_stopped():
    ngrams = count_ngrams(random_stream(5, 1000), vocab_size=V, order=4)
    stream = random_stream(6, 100)
    start = tuple(ngrams.contexts(stream)[39])
    np.testing.assert_array_equal(ngrams.contexts(stream[40:], start), ngrams.contexts(stream)[40:])
    np.testing.assert_array_equal(
        ngrams.score_stream(stream[40:], start).probabilities, ngrams.score_stream(stream).probabilities[40:]
    )


def test_nothing_before_a_document_end_is_looked_at():
    ngrams = count_ngrams(random_stream(7, 1000), vocab_size=V, order=4)
    after = [ngrams.contexts(np.array(before, np.uint16))[-1] for before in ([0, 3, 1, 0, 2], [2, 2, 0, 2], [0, 2])]
    np.testing.assert_array_equal(after[0], after[1])
    np.testing.assert_array_equal(after[0], after[2])


def test_several_streams_are_their_documents_in_one():
    first, second = random_stream(8, 200), random_stream(9, 150)
    together = count_ngrams(first, second, vocab_size=V).to_arrays()
    joined = count_ngrams(np.concatenate((first, second[1:])), vocab_size=V).to_arrays()
    assert together.keys() == joined.keys()
    for name, array in together.items():
        np.testing.assert_array_equal(array, joined[name])


def test_an_empty_stream_gives_every_token_the_same_chance():
    for stream in ([], [0], [3]):
        ngrams = count_ngrams(np.array(stream, np.uint16), vocab_size=V)
        np.testing.assert_allclose(ngrams.distribution(ngrams.advance(ngrams.empty_context(), 2)), 1 / V, rtol=1e-6)


@pytest.mark.parametrize("max_bytes", [300, 1000, 3000])
def test_the_memory_fits_and_keeps_what_is_frequent(max_bytes):
    stream = random_stream(10, 3000)
    whole, small = count_ngrams(stream, vocab_size=V), count_ngrams(stream, vocab_size=V, max_bytes=max_bytes)
    assert small.num_bytes <= max_bytes < whole.num_bytes
    assert len(small.to_arrays()["counts.2"]) > 0
    repeated = np.tile(np.array([0, 1, 2, 3, 4, 5], np.uint16), 50)
    small = count_ngrams(stream, repeated, vocab_size=V, max_bytes=max_bytes)
    assert max(small.score_stream(repeated).lengths) >= 2


def test_what_was_dropped_goes_to_shorter_contexts():
    stream = random_stream(11, 3000)
    whole, small = (count_ngrams(stream, vocab_size=V, max_bytes=size) for size in (None, 1000))
    nodes = small.empty_context()
    for token in stream[:500].tolist():
        nodes = small.advance(nodes, token)
    length, total, _ = small.evidence(nodes)
    context = stream[500 - length : 500]
    same = whole.contexts(context)[-1]
    assert whole.evidence(tuple(same))[1] == pytest.approx(total, rel=0.05)


def test_a_stream_read_in_pieces_gives_what_it_gives_at_once(monkeypatch):
    stream = random_stream(17, 1000)
    ngrams = count_ngrams(stream, vocab_size=V)
    expected = ngrams.score_stream(stream)
    monkeypatch.setattr(counts, "BLOCK_TOKENS", 64)
    reading = ngrams.score_stream(stream)
    for name, values in expected._asdict().items():
        np.testing.assert_array_equal(getattr(reading, name), values)


@pytest.mark.parametrize("chunk_len", [1, 7, 1 << 16])
def test_nats_are_those_of_what_is_read_however_it_is_chunked(chunk_len):
    ngrams, stream = count_ngrams(random_stream(16, 1000), vocab_size=V), random_stream(18, 200)
    expected = -np.log(ngrams.score_stream(stream).probabilities.astype(np.float64)).sum()
    assert ngrams.total_nats(stream, chunk_len=chunk_len) == pytest.approx(expected, rel=1e-6)


def test_of_a_very_long_stream_evenly_spaced_stretches_count(monkeypatch):
    stream = np.concatenate([np.full(100, token) for token in (1, 2, 3, 4)]).astype(np.uint16)
    monkeypatch.setattr(building, "_MAX_TOKENS", 200)
    monkeypatch.setattr(building, "BLOCK_TOKENS", 50)
    arrays = count_ngrams(stream, vocab_size=V, order=1).to_arrays()
    np.testing.assert_array_equal(arrays["counts.1"], [0, 49, 50, 50, 50, 0, 0])


def test_a_model_too_small_for_any_context_still_scores_a_stream():
    stream = random_stream(10, 300)
    ngrams = count_ngrams(stream, vocab_size=V, max_bytes=0)
    assert len(ngrams.to_arrays()["counts.2"]) == 0
    scores = ngrams.score_stream(stream)
    np.testing.assert_allclose(scores.probabilities, ngrams.distribution(ngrams.empty_context())[stream[1:]], rtol=1e-6)


@pytest.mark.parametrize("count", [1, 128, 129, 1000, 123_456])
def test_a_large_count_is_kept_to_5_percent(count):
    stream = np.concatenate(([0, 2], np.ones(count + 1))).astype(np.uint16)
    ngrams = count_ngrams(stream, vocab_size=V, order=2)
    nodes = ngrams.advance(ngrams.empty_context(), 1)
    assert ngrams.evidence(nodes)[1] == pytest.approx(count, rel=0.05 if count > 128 else 0)


def test_the_most_certain_context_leaves_every_token_a_chance():
    ngrams = count_ngrams(np.ones(300_000, np.uint16), vocab_size=V, order=MAX_ORDER)
    nodes = ngrams.contexts(np.ones(20, np.uint16))
    assert ngrams.distribution(tuple(nodes[-1].tolist())).min() > 0
    assert ngrams.distributions(nodes).min() > 0
    assert ngrams.score_stream(np.array([1] * 10 + [2], np.uint16)).probabilities[-1] > 0


def test_a_large_vocabulary_has_wide_tokens():
    stream = np.tile(np.array([0, 70_000, 5, 65_537], np.uint32), 20)
    ngrams = count_ngrams(stream, vocab_size=70_001)
    again = NGrams.from_arrays(ngrams.to_arrays(), 70_001)
    assert again.to_arrays()["tokens.2"].dtype == np.uint32
    assert again.score_stream(stream).probabilities[10:].min() > 0.5
    assert again.distribution(again.advance(again.advance(again.empty_context(), 0), 70_000)).argmax() == 5


def digits_at(*places, length=30_000, number=(10, 11, 12, 10, 11)):
    """Words at random with a number at some places; 10 to 12 are digits."""
    stream = np.random.default_rng(0).integers(1, 10, length)
    stream[[0, -1]] = 0
    for place in places:
        stream[place : place + len(number)] = number
    return stream.astype(np.uint16)


@pytest.mark.parametrize(("places", "learnt"), [((500,), False), ((500, 900, 1300), False), ((500, 20_000), True)])
def test_a_number_is_learnt_only_when_it_stands_far_apart(places, learnt):
    stream = digits_at(*places)
    ngrams = count_ngrams(stream, vocab_size=13, digit_tokens=np.arange(13) >= 10)
    chances = ngrams.score_stream(stream).probabilities[
        500:505
    ]  # of the four digits after the first, and the word after
    assert bool((chances[:4] > 0.3).all()) is learnt
    assert bool((chances[:4] < 0.1).all()) is not learnt
    everything = count_ngrams(stream, vocab_size=13)
    assert (everything.score_stream(stream).probabilities[500:504] > 0.3).all()


def test_a_number_is_learnt_when_two_documents_have_it():
    stream = digits_at(500, 900)
    assert len(set(stream[505:900].tolist()) & {0}) == 0
    digit_tokens = np.arange(13) >= 10
    stream[700] = 0
    chances = count_ngrams(stream, vocab_size=13, digit_tokens=digit_tokens).score_stream(stream).probabilities[500:504]
    assert (chances > 0.3).all()


def test_arrays_in_a_file_come_back_as_they_were():
    ngrams = count_ngrams(random_stream(12, 2000), vocab_size=V, max_bytes=3000)
    data = save({name: np.ascontiguousarray(array) for name, array in ngrams.to_arrays().items()})
    again = NGrams.from_arrays(parse_safetensors(data, name="ngrams"), V)
    assert (again.order, again.vocab_size) == (ngrams.order, V)
    stream = random_stream(13, 500)
    np.testing.assert_array_equal(again.score_stream(stream).probabilities, ngrams.score_stream(stream).probabilities)


def damaged(change):
    arrays = {
        name: array.copy() for name, array in count_ngrams(random_stream(14, 500), vocab_size=V).to_arrays().items()
    }
    change(arrays)
    return arrays


def put(name, index, value):
    return lambda arrays: arrays[name].__setitem__(index, value)


ATTACKS = {
    "nothing": lambda arrays: arrays.clear(),
    "no discounts": lambda arrays: arrays.pop("discounts"),
    "order 0": lambda arrays: arrays.update(discounts=np.zeros((0, 3), np.float32)),
    "high order": lambda arrays: arrays.update(discounts=np.zeros((MAX_ORDER + 1, 3), np.float32)),
    "two discounts": lambda arrays: arrays.update(discounts=np.zeros((5, 2), np.float32)),
    "discount that is no number": put("discounts", (2, 1), np.nan),
    "negative discount": put("discounts", (0, 0), -0.1),
    "discount of nothing": put("discounts", (0, 0), 0.0),
    "discount of all": put("discounts", (0, 0), 1.0),
    "missing array": lambda arrays: arrays.pop("tokens.3"),
    "unknown array": lambda arrays: arrays.update(hook=np.zeros(1)),
    "token beyond the vocabulary": put("tokens.2", -1, V),
    "tokens out of order": lambda arrays: arrays.update({"tokens.2": arrays["tokens.2"][::-1].copy()}),
    "token twice": put("tokens.2", 1, 0),
    "count of zero": put("counts.3", 5, 0),
    "children that are not there": put("children.2", 3, 200),
    "wrong vocabulary": lambda arrays: arrays.update({"counts.1": arrays["counts.1"][:-1]}),
    "wide tokens": lambda arrays: arrays.update({"tokens.2": arrays["tokens.2"].astype(np.uint32)}),
    "fractional counts": lambda arrays: arrays.update({"counts.2": arrays["counts.2"].astype(np.float32)}),
    "two dimensions": lambda arrays: arrays.update({"counts.2": arrays["counts.2"][None]}),
    "too many children": lambda arrays: arrays.update({"children.1": np.full(V, 2**32 - 1, np.uint32)}),
    "few occurrences": lambda arrays: arrays.update(occurrences=arrays["occurrences"][1:]),
    "cut off": lambda arrays: arrays.update({"tokens.5": arrays["tokens.5"][:-1]}),
}


@pytest.mark.parametrize("change", ATTACKS.values(), ids=ATTACKS)
def test_damaged_arrays_are_refused(change):
    with pytest.raises(ModelError, match="n-gram model"):
        NGrams.from_arrays(damaged(change), V)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_change_is_refused_or_harmless(data):
    arrays = damaged(lambda arrays: None)
    array = arrays[data.draw(st.sampled_from([name for name in arrays if name != "discounts"]))]
    array[data.draw(st.integers(0, len(array) - 1))] = data.draw(st.integers(0, 255))
    try:
        ngrams = NGrams.from_arrays(arrays, V)
    except ModelError:
        return
    nodes = ngrams.contexts(random_stream(15, 50))
    rows = ngrams.distributions(nodes)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(ngrams.distribution(tuple(nodes[-1].tolist())), rows[-1], atol=1e-6)


def test_an_order_that_is_none_is_refused():
    with pytest.raises(ValueError, match="order 9"):
        count_ngrams(random_stream(), vocab_size=V, order=9)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_frequencies_are_those_of_the_tokens(order):
    stream = np.concatenate([random_stream(seed, 400) for seed in range(5)])
    counted = np.bincount(stream[1:], minlength=V) + 0.5
    frequencies = count_ngrams(stream, vocab_size=V, order=order).token_frequencies()
    np.testing.assert_allclose(frequencies, counted / counted.sum(), rtol=0.1)  # codes are that coarse
    assert frequencies.sum() == pytest.approx(1)


def test_frequencies_of_what_always_follows_the_same_are_not_less():
    stream = np.tile(np.array([2, 3, 2, 4, 2, 3]), 50)  # 3 only ever follows 2
    frequencies = count_ngrams(stream, vocab_size=V).token_frequencies()
    assert frequencies[3] == pytest.approx(100 / len(stream), rel=0.1)


def test_counts_that_were_stored_without_occurrences_take_the_unigrams():
    arrays = count_ngrams(random_stream(), vocab_size=V, order=3).to_arrays()
    del arrays["occurrences"]
    counts = NGrams.from_arrays(arrays, V)
    np.testing.assert_allclose(counts.token_frequencies(), counts.distribution(counts.empty_context()), rtol=1e-5)
