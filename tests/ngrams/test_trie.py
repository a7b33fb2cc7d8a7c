"""The n-gram model as arrays: a round trip, and damaged or hostile arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from gru_complete.errors import ModelError
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.trie import MAX_ORDER
from gru_complete.storage.tensors import parse_safetensors
from tests.ngrams.streams import V, random_stream


@pytest.mark.parametrize("count", [1, 128, 129, 1000, 123_456])
def test_a_large_count_is_kept_to_5_percent(count):
    stream = np.concatenate(([0, 2], np.ones(count + 1))).astype(np.uint16)
    ngrams = count_ngrams(stream, vocab_size=V, order=2)
    nodes = ngrams.advance(ngrams.empty_context(), 1)
    assert ngrams.evidence(nodes)[1] == pytest.approx(count, rel=0.05 if count > 128 else 0)


def test_a_large_vocabulary_has_wide_tokens():
    stream = np.tile(np.array([0, 70_000, 5, 65_537], np.uint32), 20)
    ngrams = count_ngrams(stream, vocab_size=70_001)
    again = NGrams.from_arrays(ngrams.to_arrays(), 70_001)
    assert again.to_arrays()["tokens.2"].dtype == np.uint32
    assert again.score_stream(stream).probabilities[10:].min() > 0.5
    assert again.distribution(again.advance(again.advance(again.empty_context(), 0), 70_000)).argmax() == 5


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
