import numpy as np
import pytest

from gru_complete.evaluation import neural_cache
from gru_complete.evaluation.neural_cache import NeuralCache

VOCAB_SIZE = 7


def filled(features, tokens):
    cache = NeuralCache(features.shape[1])
    for row, token in zip(features, tokens, strict=True):
        cache.learn(row, token)
    return cache


@pytest.fixture
def text():
    rng = np.random.default_rng(0)
    return rng.normal(size=(90, 5)).astype(np.float32), rng.integers(0, VOCAB_SIZE, 90).tolist()


def test_tokens_are_weighted_by_the_similarity_of_their_features(monkeypatch):
    monkeypatch.setattr(neural_cache, "_THETA", np.log(4.0))
    # Cosines 1, 0 and -1 to the features at hand, whatever the lengths: weights 4, 1 and 1/4.
    cache = filled(np.array([[3, 0], [0, 0.1], [-2, 0]], np.float32), [5, 2, 5])
    probabilities, share = cache.predict(np.array([10, 0], np.float32), VOCAB_SIZE)
    np.testing.assert_allclose(probabilities, np.array([0, 0, 4, 0, 0, 17, 0]) / 21, rtol=1e-6)
    assert 0 < share < 1


def test_the_probabilities_sum_to_one(text):
    cache = filled(*text)
    for row in text[0]:
        probabilities, share = cache.predict(row, VOCAB_SIZE)
        assert probabilities.sum() == pytest.approx(1, abs=1e-6)
        assert 0 < share < 1


def test_an_empty_cache_has_no_share_in_the_mixture():
    probabilities, share = NeuralCache(3).predict(np.ones(3, np.float32), VOCAB_SIZE)
    assert share == 0
    assert not probabilities.any()


def test_only_the_last_tokens_are_kept(text, monkeypatch):
    monkeypatch.setattr(neural_cache, "WINDOW", 10)
    features, tokens = text
    for num_tokens in (5, 10, 11, 20, 21, 35, 90):
        everything = filled(features[:num_tokens], tokens[:num_tokens])
        last = filled(features[:num_tokens][-10:], tokens[:num_tokens][-10:])
        expected, share = last.predict(features[0], VOCAB_SIZE)
        found, found_share = everything.predict(features[0], VOCAB_SIZE)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert found_share == pytest.approx(share, rel=1e-5)


def test_similar_features_give_the_cache_a_larger_share():
    cache = filled(np.array([[1, 0, 0], [0, 1, 0]], np.float32), [1, 2])
    near, distant = (cache.predict(np.array(row, np.float32), VOCAB_SIZE)[1] for row in ([1, 0.1, 0], [0.1, 0.1, 1]))
    assert near > distant


def test_features_of_length_zero_are_accepted():
    probabilities, _ = filled(np.zeros((2, 3), np.float32), [1, 2]).predict(np.zeros(3, np.float32), VOCAB_SIZE)
    np.testing.assert_allclose(probabilities, [0, 0.5, 0.5, 0, 0, 0, 0])
