import numpy as np
import pytest
import torch

from gru_complete.evaluation import online_learning
from gru_complete.evaluation.dynamic import DynamicSettings
from gru_complete.evaluation.neural_cache import NeuralCache
from gru_complete.evaluation.online_learning import measure_online_learning, score_online
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.scoring import read_documents
from tests.costs import token_nats

VOCAB_SIZE = 11
WITHOUT_COUNTS = ["static", "cache", "dynamic", "cache_dynamic"]
ALL = [*WITHOUT_COUNTS, "adapted", "adapted_cache", "adapted_dynamic", "adapted_cache_dynamic"]


def document(num_tokens, seed=0):
    """A document of that many tokens between its two ends."""
    inner = np.random.default_rng(seed).integers(1, VOCAB_SIZE, num_tokens)
    return np.concatenate([[0], inner, [0]]).astype(np.uint16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LanguageModel(VOCAB_SIZE, embedding_size=5, hidden_size=7, num_layers=2)


@pytest.fixture
def mixture():
    ngrams = count_ngrams(document(200, seed=1), vocab_size=VOCAB_SIZE, order=3)
    return NGramMixture(ngrams, MixingWeights(np.zeros((3 + NUM_SLOPES, NUM_OUTPUTS), np.float32)), adapts=True)


@pytest.fixture
def short_chunks(monkeypatch):
    """Chunks of two segments, so that a short document has several."""
    monkeypatch.setattr(online_learning, "SEGMENTS", 2)


def all_nats(model, tokens, mixture):
    parts = list(score_online(model, tokens, mixture=mixture))
    return {name: np.concatenate([part[name].nats for part in parts]) for name in parts[0]}


@pytest.mark.usefixtures("short_chunks")
def test_changing_the_future_never_changes_the_nats_of_the_past(model, mixture):
    tokens = document(150)
    expected = all_nats(model, tokens, mixture)
    assert sorted(expected) == sorted(ALL)
    for place in (1, 2, 31, 32, 33, 64, 65, 100, 150):
        changed = tokens.copy()
        changed[place:] = changed[place:] % 10 + 1  # another token, never the document end
        found = all_nats(model, changed, mixture)
        for name in ALL:
            # The nats at index i are those of token i + 1.
            np.testing.assert_array_equal(found[name][: place - 1], expected[name][: place - 1], err_msg=name)
            assert found[name][place - 1] != expected[name][place - 1], name


def test_the_probabilities_of_all_tokens_sum_to_one(model, mixture):
    tokens = document(60)
    sums = dict.fromkeys(ALL, 0.0)
    for last in range(VOCAB_SIZE):
        tokens[-1] = last
        for name, nats in all_nats(model, tokens, mixture).items():
            sums[name] += np.exp(-nats[-1])
    assert sums == pytest.approx(dict.fromkeys(ALL, 1.0), abs=1e-5)


@pytest.mark.usefixtures("short_chunks")
def test_each_learner_alone_agrees_with_its_own_module(model, mixture, dynamic_nats):
    tokens = document(150)
    found = all_nats(model, tokens, mixture)
    np.testing.assert_allclose(found["static"], token_nats(model, tokens, mixture=mixture), atol=1e-5)
    np.testing.assert_allclose(found["adapted"], token_nats(model, tokens, mixture=mixture, adapted=True), atol=1e-5)
    alone = all_nats(model, tokens, None)
    assert sorted(alone) == sorted(WITHOUT_COUNTS)
    np.testing.assert_allclose(alone["dynamic"], dynamic_nats(model, tokens), atol=1e-5)


@pytest.mark.usefixtures("short_chunks")
def test_the_cache_is_mixed_into_every_other_set(model, mixture):
    tokens = document(150)
    found = all_nats(model, tokens, mixture)
    cache = NeuralCache(5)
    shares, cached = [], []
    for chunk in read_documents(model, [tokens]):
        for features, target in zip(chunk.features.numpy(), chunk.tokens[1:], strict=True):
            probabilities, share = cache.predict(features, VOCAB_SIZE)
            shares.append(share)
            cached.append(probabilities[target])
            cache.learn(features, target)
    share, cached = np.array(shares), np.array(cached)
    for name, with_cache in [
        ("static", "cache"),
        ("adapted", "adapted_cache"),
        ("dynamic", "cache_dynamic"),
        ("adapted_dynamic", "adapted_cache_dynamic"),
    ]:
        expected = -np.log((1 - share) * np.exp(-found[name]) + share * cached)
        np.testing.assert_allclose(found[with_cache], expected, atol=1e-4, err_msg=with_cache)


def test_every_set_of_learners_learns_a_repeated_phrase(model, mixture, monkeypatch):
    monkeypatch.setattr(
        online_learning, "DEFAULT", DynamicSettings(learning_rate=0.03)
    )  # a fresh model has much to learn
    phrase = np.random.default_rng(1).integers(1, VOCAB_SIZE, 20)
    nats = all_nats(model, np.concatenate([[0], np.tile(phrase, 100), [0]]), mixture)
    late = {name: values[-200:].mean() for name, values in nats.items()}
    for name in set(ALL) - {"static"}:
        assert late[name] < late["static"], name


def test_documents_are_scored_as_if_each_were_alone(model, mixture):
    documents = [document(150), document(40, seed=2)]
    together = measure_online_learning(model, documents, mixture=mixture)
    alone = [measure_online_learning(model, [tokens], mixture=mixture) for tokens in documents]
    for name in ALL:
        assert together[name].nats == pytest.approx(sum(costs[name].nats for costs in alone), rel=1e-6)
        assert together[name].seconds > 0


def test_without_documents_there_are_no_costs(model, mixture):
    assert measure_online_learning(model, [], mixture=mixture) == {}
