"""Two n-gram models as one: the formula, every way of computing it, and files of strangers."""

import numpy as np
import pytest

from gru_complete.errors import ModelError
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.evidence import NUM_SLOPES, EvidenceArrays, evidence_features
from gru_complete.ngrams.mixture import NUM_OUTPUTS, MixingWeights, NGramMixture
from gru_complete.ngrams.pair import NGramPair
from gru_complete.training.mixing import pair_with_base
from tests.ngrams.streams import V, random_stream


def pair(seed=0, own_order=4, base_order=3):
    shares = np.random.default_rng(seed).standard_normal(own_order + base_order + 2 * NUM_SLOPES).astype(np.float32)
    own = count_ngrams(random_stream(seed), vocab_size=V, order=own_order)
    return NGramPair(own, count_ngrams(random_stream(seed + 100, length=900), vocab_size=V, order=base_order), shares)


def reference(pair, tokens):
    """The formula after some tokens, in float64."""
    rows, features = [], []
    for ngrams in (pair.own, pair.base):
        context = ngrams.empty_context()
        for token in tokens:
            context = ngrams.advance(context, token)
        row, evidence = ngrams.distribution_and_evidence(context)
        rows.append(row.astype(np.float64))
        features.append(evidence_features(EvidenceArrays.from_evidence([evidence]), ngrams.order)[0])
    share = 1 / (1 + np.exp(-np.concatenate(features).astype(np.float64) @ pair.shares))
    return share * rows[0] + (1 - share) * rows[1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("orders", [(4, 3), (3, 4), (5, 5), (2, 5)])
def test_every_way_gives_the_formula_and_sums_to_1(seed, orders):
    both, stream = pair(seed, *orders), random_stream(seed + 7, length=60)
    expected = [reference(both, stream[: at + 1].tolist()) for at in range(len(stream))]
    np.testing.assert_allclose(np.sum(expected, axis=1), 1, atol=1e-5)

    contexts = both.contexts(stream)
    np.testing.assert_allclose(both.distributions(contexts), expected, atol=2e-5)
    listed = list(map(tuple, contexts.tolist()))
    for some in (listed[:5], listed):
        rows, evidence = both.distributions_and_evidence(some)
        np.testing.assert_allclose(rows, expected[: len(some)], atol=2e-5)
        assert evidence.to_list() == [both.evidence(context) for context in some]
    context = both.empty_context()
    for token, row in zip(stream.tolist(), expected, strict=True):
        context = both.advance(context, token)
        found, evidence = both.distribution_and_evidence(context)
        np.testing.assert_allclose(found, row, atol=2e-5)
        assert evidence == both.evidence(context)
    scores = both.score_stream(stream)
    ahead = [row[token] for row, token in zip(expected[:-1], stream[1:].tolist(), strict=True)]
    np.testing.assert_allclose(scores.probabilities, ahead, rtol=1e-3)
    assert scores.evidence.lengths.tolist() == [both.evidence(context).length for context in listed[:-1]]


def test_a_stream_may_be_continued():
    both, stream = pair(), random_stream(9)
    start = tuple(both.contexts(stream[:100])[-1].tolist())
    np.testing.assert_array_equal(both.contexts(stream[100:], start), both.contexts(stream)[100:])
    continued = both.score_stream(stream[99:], tuple(both.contexts(stream[:99])[-1].tolist())).probabilities
    np.testing.assert_allclose(continued, both.score_stream(stream).probabilities[99:], rtol=1e-6)


def test_a_cut_off_context_sums_to_1():
    both = pair()
    context = both.cut_off_context()
    for token in (3, 1, 2, 4):
        row, _ = both.distribution_and_evidence(context)
        assert row.sum() == pytest.approx(1, abs=1e-5)
        assert (row > 0).all()
        context = both.advance(context, token)


@pytest.mark.parametrize("better", ["own", "base"])
def test_the_shares_believe_the_one_that_knows_the_text(better):
    rng = np.random.default_rng(0)
    circle = np.tile(np.arange(1, V), 60).astype(np.uint16)
    text = np.concatenate(([0], circle, [0])).astype(np.uint16)
    noise = np.concatenate(([0], rng.integers(1, V, len(circle)), [0])).astype(np.uint16)
    wise, foolish = (count_ngrams(stream, vocab_size=V, order=3) for stream in (text, noise))
    own, base = (wise, foolish) if better == "own" else (foolish, wise)
    fitted = pair_with_base(own, base, text[:100])
    cost = -np.log(fitted.score_stream(text).probabilities).mean()
    assert cost < 1.1 * -np.log(wise.score_stream(text).probabilities).mean() + 0.02


def test_a_pair_comes_back_as_it_was_stored():
    both = pair()
    mixing = MixingWeights(np.zeros((both.order + NUM_SLOPES, NUM_OUTPUTS), np.float32))
    mixture = NGramMixture(both, mixing, adapts=True)
    read = NGramMixture.from_bytes(mixture.to_bytes(), vocab_size=V, name="ngrams")
    assert isinstance(read.ngrams, NGramPair)
    stream = random_stream(3)
    np.testing.assert_array_equal(
        read.ngrams.score_stream(stream).probabilities, both.score_stream(stream).probabilities
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update(base_shares=arrays["base_shares"][1:]),
        lambda arrays: arrays.update(base_shares=arrays["base_shares"] * np.float32(np.nan)),
        lambda arrays: arrays.update(base_shares=arrays["base_shares"].astype(np.float64)),
        lambda arrays: arrays.update(base_shares=arrays["base_shares"] * np.float32(1e9)),
        lambda arrays: arrays.pop("base.discounts"),
        lambda arrays: arrays.update({"base.more": np.zeros(3)}),
        lambda arrays: arrays.update(more=np.zeros(3)),
    ],
)
def test_a_strangers_arrays_that_do_not_fit_are_refused(change):
    arrays = pair().to_arrays()
    change(arrays)
    with pytest.raises(ModelError):
        NGramPair.from_arrays(arrays, V)
