"""Predicting for many decoder states at once gives the same as one after another."""

import numpy as np
import pytest

from gru_complete.model.architecture import CELLS, Architecture
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper

VOCAB_SIZE = 12
STREAM = np.concatenate(([0], np.random.default_rng(0).zipf(1.5, 800) % VOCAB_SIZE, [0])).astype(np.uint16)


def predictor(cell="gru", *, order=4, num_layers=2):
    arch = Architecture(cell, VOCAB_SIZE, 5, 7, num_layers)
    generator = np.random.default_rng(1)
    weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
    gate = generator.normal(size=(order + NUM_SLOPES, NUM_OUTPUTS)).astype(np.float32)
    mixture = (
        NGramMixture(count_ngrams(STREAM, vocab_size=VOCAB_SIZE, order=order), MixingWeights(gate), adapts=True)
        if order
        else None
    )
    return Predictor(Stepper(arch, weights), mixture)


def some_decoder_states(model, number=9):
    """Readings of 0, 1, 2, ... tokens, the last ones after a document end."""
    decoder_states = [model.start()]
    for token in STREAM[1:number].tolist():
        decoder_states.append(model.step(decoder_states[-1], token if len(decoder_states) < number - 2 else 0))
    return decoder_states


def learnt():
    overlay = Overlay()
    for token in STREAM[:60].tolist():
        overlay.learn(token)
    return overlay


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_stepping_many_equals_stepping_each(cell, order):
    model = predictor(cell, order=order)
    decoder_states = some_decoder_states(model)
    tokens = [(5 * index) % VOCAB_SIZE for index in range(len(decoder_states))]
    many = model.step_many(decoder_states, tokens)
    for decoder_state, token, one_of_many in zip(decoder_states, tokens, many, strict=True):
        alone = model.step(decoder_state, token)
        assert one_of_many[2:] == alone[2:]
        np.testing.assert_allclose(one_of_many.hidden, alone.hidden, rtol=0, atol=1e-5)
        np.testing.assert_allclose(one_of_many.state, alone.state, rtol=0, atol=1e-5)


def test_stepping_none_gives_none():
    assert predictor().step_many([], []) == []


@pytest.mark.parametrize("order", [0, 1, 2, 5])
@pytest.mark.parametrize("number", [1, 9])
@pytest.mark.parametrize("adapts", [False, True])
def test_log_probabilities_are_the_scores_of_each_and_sum_to_1(order, number, adapts):
    model = predictor(order=order)
    overlay = learnt() if adapts and order else None
    decoder_states = some_decoder_states(model)[-number:]
    rows = model.log_probabilities(decoder_states, overlay)
    assert (rows.shape, rows.dtype) == ((number, VOCAB_SIZE), np.float32)
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, atol=1e-5)
    for row, decoder_state in zip(rows, decoder_states, strict=True):
        scores = np.exp(model.scores(decoder_state, overlay))
        np.testing.assert_allclose(np.exp(row), scores / scores.sum(), rtol=0, atol=1e-5)


def test_log_probabilities_do_not_change_the_decoder_states():
    model = predictor()
    decoder_states = some_decoder_states(model)
    before = [(decoder_state.hidden.copy(), decoder_state.state.copy()) for decoder_state in decoder_states]
    model.log_probabilities(model.step_many(decoder_states, [3] * len(decoder_states)), learnt())
    for decoder_state, (hidden, state) in zip(decoder_states, before, strict=True):
        assert decoder_state.hidden.tolist() == hidden.tolist()
        assert decoder_state.state.tolist() == state.tolist()


@pytest.mark.parametrize("order", [1, 2, 5])
def test_a_batched_lookup_equals_single_lookups(order):
    ngrams = count_ngrams(STREAM, vocab_size=VOCAB_SIZE, order=order)
    nodes = ngrams.contexts(STREAM)
    rows = ngrams.distributions(nodes)
    for row, node in zip(rows, map(tuple, nodes.tolist()), strict=True):
        found, context = ngrams.distribution_and_evidence(node)
        np.testing.assert_allclose(found, row, rtol=0, atol=1e-6)
        assert context == ngrams.evidence(node)
