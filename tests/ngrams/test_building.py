"""What is counted, what is kept, and what is left out."""

from collections import Counter

import numpy as np
import pytest

from gru_complete.ngrams import building
from gru_complete.ngrams.building import count_ngrams
from tests.ngrams.streams import V, random_stream


def test_several_streams_are_their_documents_in_one():
    first, second = random_stream(8, 200), random_stream(9, 150)
    together = count_ngrams(first, second, vocab_size=V).to_arrays()
    joined = count_ngrams(np.concatenate((first, second[1:])), vocab_size=V).to_arrays()
    assert together.keys() == joined.keys()
    for name, array in together.items():
        np.testing.assert_array_equal(array, joined[name])


@pytest.mark.parametrize("max_bytes", [300, 1000, 3000])
def test_the_model_fits_into_its_bytes_and_keeps_what_is_frequent(max_bytes):
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


def test_of_a_very_long_stream_evenly_spaced_stretches_count(monkeypatch):
    stream = np.concatenate([np.full(100, token) for token in (1, 2, 3, 4)]).astype(np.uint16)
    monkeypatch.setattr(building, "BLOCK_TOKENS", 50)
    arrays = count_ngrams(stream, vocab_size=V, order=1, max_tokens=200).to_arrays()
    np.testing.assert_array_equal(arrays["counts.1"], [0, 49, 50, 50, 50, 0, 0])


def digits_at(*places, length=30_000, number=(10, 11, 12, 10, 11)):
    """Words at random with a number at some places; 10 to 12 are digits."""
    stream = np.random.default_rng(0).integers(1, 10, length)
    stream[[0, -1]] = 0
    for place in places:
        stream[place : place + len(number)] = number
    return stream.astype(np.uint16)


@pytest.mark.parametrize(("places", "learnt"), [((500,), False), ((500, 900, 1300), False), ((500, 20_000), True)])
def test_a_number_is_learnt_only_if_it_occurs_far_apart(places, learnt):
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


def test_an_order_out_of_range_is_refused():
    with pytest.raises(ValueError, match="order 9"):
        count_ngrams(random_stream(), vocab_size=V, order=9)


def stored_ngrams(ngrams):
    """All n-grams of two or more tokens that are stored, as tuples."""
    levels = ngrams.trie.levels
    paths = [(token,) for token in levels[0].tokens.tolist()]
    stored = []
    for shorter, level in zip(levels[:-1], levels[1:], strict=True):
        parents = np.repeat(np.arange(len(paths)), np.diff(shorter.first)).tolist()
        paths = [(*paths[parent], token) for parent, token in zip(parents, level.tokens.tolist(), strict=True)]
        stored += paths
    return stored


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("min_documents", [1, 2, 3, 5])
def test_only_what_stands_in_enough_documents_is_stored(seed, min_documents):
    rng = np.random.default_rng(seed)
    texts = [rng.integers(1, 6, rng.integers(1, 30)).tolist() for _ in range(8)]
    stream = np.array([0, *(token for text in texts for token in (*text, 0))], np.uint16)
    documents = [(0, *text, 0) for text in texts]
    expected = Counter(
        gram
        for document in documents
        for length in (2, 3, 4)
        for gram in {document[at : at + length] for at in range(len(document) - length + 1)}
    )
    stored = stored_ngrams(count_ngrams(stream, vocab_size=6, order=4, min_documents=min_documents))
    assert sorted(stored) == sorted(gram for gram, count in expected.items() if count >= min_documents)


@pytest.mark.parametrize("min_documents", [2, 3])
def test_what_is_left_out_goes_to_the_shorter_contexts(min_documents):
    ngrams = count_ngrams(random_stream(), vocab_size=V, order=4, min_documents=min_documents)
    rows = ngrams.distributions(ngrams.contexts(random_stream()))
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    assert (rows > 0).all()
