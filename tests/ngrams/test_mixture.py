"""The mixture against its formula in float64, and against damaged files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load, save

from gru_complete.errors import ModelError
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.evidence import EvidenceArrays
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture

V, ORDER = 9, 4
RNG = np.random.default_rng(0)
STREAM = np.concatenate(([0], RNG.zipf(1.5, 500) % V, [0])).astype(np.uint16)
NGRAMS = count_ngrams(STREAM, vocab_size=V, order=ORDER)


def random_weights(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((ORDER + NUM_SLOPES, NUM_OUTPUTS)) * scale).astype(np.float32)


def mixture(weights=None, adapts=False):
    return NGramMixture(NGRAMS, MixingWeights(random_weights() if weights is None else weights), adapts)


def expert_weights(*scores):
    """Weights that say the same in every context: powers of a half, and these scores of the three experts."""
    weights = np.zeros((ORDER + NUM_SLOPES, NUM_OUTPUTS), np.float32)
    weights[:ORDER] = [0.5, 0.5, *scores]
    return weights


def reference(weights, logits, counted, length, total, num_followers):
    """The formula of the module, one context at a time."""
    weights, logits, counted = (np.asarray(array, np.float64) for array in (weights, logits, counted))
    total = max(total, 1)
    seen = weights[length] + np.log1p(total) / 3 * weights[ORDER] + np.log(num_followers / total + 1e-3) * weights[-1]
    a, b, *scores = seen
    gru = np.exp(logits - logits.max())
    gru /= gru.sum()
    product = np.exp(a * np.log(gru) + b * np.log(counted) - (a * np.log(gru) + b * np.log(counted)).max())
    shares = np.exp(np.array(scores) - max(scores))
    shares /= shares.sum()
    return shares[0] * product / product.sum() + shares[1] * counted + shares[2] * gru


def some_contexts(num_contexts=60):
    return NGRAMS.contexts(RNG.integers(0, V, num_contexts))


@settings(max_examples=50, deadline=None)
@given(
    logits=hnp.arrays(np.float32, (5, V), elements=st.floats(-30, 30, width=32)),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_a_row_is_the_formula_and_its_sum_is_1(logits, seed, data):
    nodes = some_contexts(5)
    lengths = data.draw(hnp.arrays(np.int8, 5, elements=st.integers(0, ORDER - 1)))
    totals = data.draw(hnp.arrays(np.float32, 5, elements=st.floats(0, 1e6, width=32)))
    followers = data.draw(hnp.arrays(np.int32, 5, elements=st.integers(1, V)))
    mixing, counted = MixingWeights(random_weights(seed, 0.5)), NGRAMS.distributions(nodes)
    rows = mixing.mix(logits, counted, mixing.powers_and_shares(EvidenceArrays(lengths, totals, followers)))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
    expected = [
        reference(mixing.weights, *row) for row in zip(logits, counted, lengths, totals, followers, strict=True)
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-4)


@pytest.mark.parametrize("expert", range(3))
def test_weights_that_trust_one_expert_give_that_expert(expert):
    scores = [-1000.0] * 3
    scores[expert] = 1000.0
    logits = RNG.standard_normal(V).astype(np.float32) * 3
    gru = np.exp(logits) / np.exp(logits).sum()
    for nodes in map(tuple, some_contexts().tolist()):
        counted = NGRAMS.distribution(nodes)
        product = np.sqrt(gru * counted)
        expected = (product / product.sum(), counted, gru)[expert]
        np.testing.assert_allclose(mixture(expert_weights(*scores)).predict(logits, nodes)[0], expected, rtol=1e-4)


def test_the_counts_alone_give_what_the_counts_say():
    alone = MixingWeights.of_counts_alone(ORDER)
    assert alone.are_of_counts_alone
    assert not MixingWeights(random_weights()).are_of_counts_alone
    contexts = some_contexts()
    rng, counted = np.random.default_rng(5), NGRAMS.distributions(contexts)
    logits = rng.standard_normal(counted.shape).astype(np.float32) * 20
    evidence = EvidenceArrays.from_evidence([NGRAMS.evidence(tuple(context)) for context in contexts.tolist()])
    np.testing.assert_allclose(alone.mix(logits, counted, alone.powers_and_shares(evidence)), counted, rtol=1e-4)


def test_one_context_at_a_time_equals_many():
    nodes = some_contexts()
    logits = RNG.standard_normal((len(nodes), V)).astype(np.float32) * 3
    mixed = mixture()
    evidence = EvidenceArrays.from_evidence([NGRAMS.evidence(tuple(row)) for row in nodes.tolist()])
    powers_and_shares = mixed.mixing.powers_and_shares(evidence)
    rows = mixed.mixing.mix(logits, NGRAMS.distributions(nodes), powers_and_shares)
    for index, row in enumerate(nodes.tolist()):
        np.testing.assert_allclose(mixed.predict(logits[index], tuple(row))[0], rows[index], atol=1e-6)
        one = mixed.mixing.powers_and_shares_of_one(*NGRAMS.evidence(tuple(row)))
        np.testing.assert_allclose(one, powers_and_shares[:, index, 0], rtol=1e-5, atol=1e-6)


def test_nothing_that_is_given_is_changed():
    logits, counted = RNG.standard_normal((4, V)).astype(np.float32), NGRAMS.distributions(some_contexts(4))
    mixing = mixture().mixing
    powers_and_shares = mixing.powers_and_shares(EvidenceArrays(np.array([0, 1, 2, 3]), np.ones(4), np.ones(4)))
    before = [array.copy() for array in (logits, counted, powers_and_shares)]
    mixing.mix(logits, counted, powers_and_shares)
    for array, copy in zip((logits, counted, powers_and_shares), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("seed", range(20))
def test_extreme_weights_still_give_a_distribution(seed):
    extreme = mixture((np.sign(random_weights(seed)) * 1000).astype(np.float32))
    logits = RNG.standard_normal(V).astype(np.float32) * 100
    for nodes in map(tuple, some_contexts().tolist()):
        row = extreme.predict(logits, nodes)[0]
        assert np.isfinite(row).all()
        assert row.min() >= 0
        assert row.sum() == pytest.approx(1, abs=1e-5)


def test_a_context_that_was_never_seen_has_a_distribution_too():
    nothing = count_ngrams(np.array([0], np.uint16), vocab_size=V, order=ORDER)
    uniform = NGramMixture(nothing, MixingWeights(expert_weights(-1000.0, 1000.0, -1000.0)), adapts=False)
    np.testing.assert_allclose(uniform.predict(np.zeros(V, np.float32), nothing.empty_context())[0], 1 / V, rtol=1e-6)


# On disk


@pytest.mark.parametrize("adapts", [False, True])
def test_a_mixture_comes_back_as_it_was_stored(adapts):
    stored = mixture(adapts=adapts)
    back = NGramMixture.from_bytes(stored.to_bytes(), vocab_size=V, name="ngrams")
    assert back.adapts is adapts
    np.testing.assert_array_equal(back.mixing.weights, stored.mixing.weights)
    logits = RNG.standard_normal(V).astype(np.float32)
    for nodes in map(tuple, some_contexts().tolist()):
        np.testing.assert_array_equal(back.predict(logits, nodes)[0], stored.predict(logits, nodes)[0])
    assert back.to_bytes() == stored.to_bytes()


def first_number_is(number):
    return lambda array: np.concatenate(([number], array.ravel()[1:])).reshape(array.shape).astype(array.dtype)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("mixture", None, "mixing weights are missing or malformed"),
        ("mixture", lambda array: array[0], "mixing weights are missing or malformed"),
        ("mixture", lambda array: array[:, :4], "mixing weights are missing or malformed"),
        ("mixture", lambda array: array[:0], "mixing weights are missing or malformed"),
        ("mixture", lambda array: array[:NUM_SLOPES], "mixing weights are missing or malformed"),
        ("mixture", lambda array: array.astype(np.float64), "mixing weights are missing or malformed"),
        ("mixture", first_number_is(np.nan), "mixing weights are missing or malformed"),
        ("mixture", first_number_is(np.inf), "mixing weights are missing or malformed"),
        ("mixture", first_number_is(-1001), "mixing weights are missing or malformed"),
        ("mixture", lambda array: array[1:], "weights are for the order 3, the n-gram model has 4"),
        ("mixture", lambda array: np.tile(array, (3, 1)), "weights are for the order 16, the n-gram model has 4"),
        ("adapts", None, "does not say whether it adapts"),
        ("adapts", lambda _: np.array([2], np.uint8), "does not say whether it adapts"),
        ("adapts", lambda _: np.array([1], np.int32), "does not say whether it adapts"),
        ("adapts", lambda _: np.array([1, 1], np.uint8), "does not say whether it adapts"),
        ("extra", lambda _: np.zeros(3, np.float32), "unknown array 'extra'"),
        ("discounts", lambda array: array[1:], "unknown array"),
        ("discounts", first_number_is(np.nan), "discount"),
        ("counts.2", None, "has no counts.2"),
        ("tokens.2", first_number_is(V), "tokens.2"),
    ],
)
def test_a_strangers_file_that_does_not_fit_is_refused(name, change, problem):
    arrays = load(mixture().to_bytes())
    if change is None:
        del arrays[name]
    else:
        arrays[name] = np.ascontiguousarray(change(arrays.get(name)))
    with pytest.raises(ModelError, match=f"^the file: .*({problem})"):
        NGramMixture.from_bytes(save(arrays), vocab_size=V, name="the file")


@pytest.mark.parametrize("vocab_size", [V - 1, V + 1, 70_000])
def test_a_mixture_of_another_vocabulary_is_refused(vocab_size):
    with pytest.raises(ModelError, match=f"no counts.1 of {vocab_size} uint8"):
        NGramMixture.from_bytes(mixture().to_bytes(), vocab_size=vocab_size, name="the file")


def test_every_file_that_was_cut_off_is_refused():
    data = mixture().to_bytes()
    for length in range(0, len(data), 37):
        with pytest.raises(ModelError, match="the file"):
            NGramMixture.from_bytes(data[:length], vocab_size=V, name="the file")


def test_beginnings_have_mixing_weights_of_their_own():
    """One says what the counts say, the other what the network says."""
    of_counts, of_network = expert_weights(-50.0, 50.0, -50.0), expert_weights(-50.0, -50.0, 50.0)
    both = mixture(of_counts)._replace(beginnings=MixingWeights(of_network))
    logits = RNG.standard_normal(V).astype(np.float32)
    gru = np.exp(logits) / np.exp(logits).sum()
    for again in (both, NGramMixture.from_bytes(both.to_bytes(), vocab_size=V, name="it")):
        begins = NGRAMS.advance(NGRAMS.cut_off_context(), 1)
        within = NGRAMS.advance(NGRAMS.empty_context(), 1)
        np.testing.assert_allclose(again.predict(logits, begins)[0], gru, rtol=1e-5)
        np.testing.assert_allclose(again.predict(logits, within)[0], NGRAMS.distribution(within), rtol=1e-5)
        rows, _ = again.predict_many(np.stack([logits] * 20), [begins, within] * 10)
        np.testing.assert_allclose(rows[::2], np.stack([gru] * 10), rtol=1e-5)
        np.testing.assert_allclose(rows[1::2], np.stack([NGRAMS.distribution(within)] * 10), rtol=1e-5)


def test_older_models_take_a_beginning_for_a_context_of_full_length():
    weights = random_weights()
    found = mixture(weights).mixing_of_beginnings.weights
    np.testing.assert_array_equal(found[1:ORDER], np.stack([weights[ORDER - 1]] * (ORDER - 1)))
    np.testing.assert_array_equal(found[[0, ORDER, ORDER + 1]], weights[[0, ORDER, ORDER + 1]])


@pytest.mark.parametrize("weights", [np.zeros((3, 5), np.float32), np.full((6, 5), np.nan, np.float32), np.zeros(6)])
def test_malformed_mixing_weights_of_beginnings_are_refused(weights):
    arrays = load(mixture().to_bytes()) | {"mixture.beginnings": weights}
    with pytest.raises(ModelError, match="mixing weights"):
        NGramMixture.from_bytes(save(arrays), vocab_size=V, name="it")
