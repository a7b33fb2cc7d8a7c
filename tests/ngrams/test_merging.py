"""Two n-gram models added up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.merging import merge_ngrams

VOCAB_SIZE = 7
MAX_BYTES = 1_000_000
TEXTS = st.lists(st.lists(st.integers(1, VOCAB_SIZE - 1), min_size=1, max_size=30), min_size=1, max_size=4)


def stream(documents):
    return np.array([0, *(token for document in documents for token in [*document, 0])])


def random_stream(seed, size=3_000, vocab_size=50):
    rng = np.random.default_rng(seed)
    tokens = np.minimum(rng.geometric(0.15, size), vocab_size - 1)
    tokens[:: size // 7] = 0
    return np.concatenate(([0], tokens, [0]))


@given(TEXTS, TEXTS, st.integers(1, 5))
def test_where_nothing_was_dropped_it_is_the_model_of_both_texts(first, second, order):
    models = [count_ngrams(stream(text), vocab_size=VOCAB_SIZE, order=order) for text in (first, second)]
    merged = merge_ngrams(*models, max_bytes=MAX_BYTES).to_arrays()
    expected = count_ngrams(stream(first), stream(second), vocab_size=VOCAB_SIZE, order=order).to_arrays()
    assert merged.keys() == expected.keys()
    for name in expected.keys() - {"discounts"}:
        np.testing.assert_array_equal(merged[name], expected[name], err_msg=name)


def test_the_discounts_lie_between_those_of_the_two():
    models = [count_ngrams(random_stream(seed, size), vocab_size=50) for seed, size in ((0, 3_000), (1, 500))]
    discounts = [model.trie.discounts for model in models]
    merged = merge_ngrams(*models, max_bytes=MAX_BYTES).trie.discounts
    assert (merged >= np.minimum(*discounts) - 1e-6).all()
    assert (merged <= np.maximum(*discounts) + 1e-6).all()


@pytest.mark.parametrize("max_bytes", [2_000, 5_000, 12_000])
def test_it_takes_no_more_bytes_than_allowed_and_can_be_read_back(max_bytes):
    models = [count_ngrams(random_stream(seed), vocab_size=50, max_bytes=max_bytes) for seed in (0, 1)]
    merged = merge_ngrams(*models, max_bytes=max_bytes)
    assert max_bytes / 2 < merged.num_bytes <= max_bytes
    again = type(merged).from_arrays(merged.to_arrays(), 50)
    row = again.distribution(again.advance(again.empty_context(), 3))
    assert row.min() > 0
    assert row.sum() == pytest.approx(1, abs=1e-5)


def test_what_was_dropped_before_is_still_counted():
    small = count_ngrams(random_stream(0), vocab_size=50, order=2, max_bytes=600)
    other = count_ngrams(random_stream(1), vocab_size=50, order=2)
    merged = merge_ngrams(small, other, max_bytes=MAX_BYTES)
    num_known = 0
    for token in range(1, 50):
        of_each = [model.evidence(model.advance(model.empty_context(), token)) for model in (small, other, merged)]
        if of_each[0].length == 1:  # some of its followers are stored
            num_known += 1
            assert of_each[2].total == pytest.approx(of_each[0].total + of_each[1].total, rel=0.06)  # codes are rounded
    assert num_known > 3
    assert small.trie.levels[0].dropped.any()
