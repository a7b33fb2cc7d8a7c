import math

import numpy as np
import pytest

from gru_complete.evaluation.marginal import score_marginal
from gru_complete.model.architecture import Architecture
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.tokenizer import segments
from tests.fakes import LongestFirst

WORDS = LongestFirst(b" a", b" ab", b"ab", b"ba", b"\n\n")


@pytest.fixture(scope="module")
def predictor():
    generator = np.random.default_rng(0)
    arch = Architecture("gru", len(WORDS.pieces), 5, 7, 1)
    weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
    weights["output_bias"][:257] -= 4  # pieces are likelier than bytes, as in a trained model
    return Predictor(Stepper(arch, weights, np.float64))


DOCUMENTS = [b"abba ab\n\nba a abab", b"", b" ab"]


def test_the_sum_over_segmentations_is_tighter_than_one(predictor):
    cost = score_marginal(predictor, WORDS, DOCUMENTS)
    assert cost.num_bytes == sum(map(len, DOCUMENTS))
    assert cost.bits_per_byte < cost.one_segmentation_bits_per_byte
    assert cost.bits_per_byte == pytest.approx(cost.nats / math.log(2) / cost.num_bytes)


def test_with_equally_likely_tokens_the_probability_is_a_sum_over_all_segmentations():
    arch = Architecture("gru", len(WORDS.pieces), 5, 7, 1)
    weights = {name: np.zeros(shape) for name, shape in arch.tensor_shapes().items()}
    one = 1 / len(WORDS.pieces)  # the probability of each token, of the document's end too
    cost = score_marginal(Predictor(Stepper(arch, weights, np.float64)), WORDS, [b" ab"])
    # " ab" is itself a token; " a" + "b" and " " + "ab" are two each; " " + "a" + "b" are three.
    assert cost.nats == pytest.approx(-math.log((one + 2 * one**2 + one**3) * one))
    assert cost.one_segmentation_nats == pytest.approx(-math.log(one * one))


def test_the_cost_is_that_of_each_byte_after_those_before_it(predictor):
    document, tokenizer, index = DOCUMENTS[0], WORDS, PieceIndex(WORDS.pieces)
    reading, nats, hypotheses = predictor.start(), 0.0, None
    for segment in segments(document):
        for size in range(len(segment)):
            if hypotheses is None:
                hypotheses = Hypotheses.open(predictor, index, reading, b"", None, width=None)
            nats -= math.log(hypotheses.next_bytes()[segment[size]])
            hypotheses = Hypotheses.open(predictor, index, reading, segment[: size + 1], None, width=None)
        reading = predictor.read(reading, tokenizer.encode_segment(segment))
    nats -= math.log(hypotheses.next_bytes()[256])
    assert score_marginal(predictor, tokenizer, [document], width=None).nats == pytest.approx(nats, abs=1e-9)


def test_the_cost_of_one_segmentation_is_that_of_its_tokens(predictor):
    reading, nats = predictor.start(), 0.0
    for token in [*(token for part in segments(DOCUMENTS[0]) for token in WORDS.encode_segment(part)), 0]:
        nats -= predictor.log_probabilities([reading])[0, token]
        reading = predictor.step(reading, token)
    cost = score_marginal(predictor, WORDS, DOCUMENTS[:1])
    assert cost.one_segmentation_nats == pytest.approx(nats, abs=1e-9)


def test_a_sample_with_a_maximum_size_is_the_beginning_of_the_text(predictor):
    cost = score_marginal(predictor, WORDS, DOCUMENTS, max_bytes=6)
    whole = score_marginal(predictor, WORDS, [DOCUMENTS[0][:6]])
    assert cost.num_bytes == 6
    assert cost.nats < whole.nats  # the document goes on


def test_an_empty_text_is_refused(predictor):
    with pytest.raises(ValueError, match="no text"):
        score_marginal(predictor, WORDS, [])
