import math

import numpy as np
import pytest
import torch

from gru_complete.evaluation import report as report_module
from gru_complete.evaluation.marginal import score_marginal
from gru_complete.evaluation.report import EvaluationReport, evaluate, measure_marginal, measure_suggestions
from gru_complete.model.directory import load_model
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.nn.language_model import LanguageModel
from gru_complete.runtime.completer import Completer
from gru_complete.text.shards import ShardHeader
from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.training.scoring import TokenScores

VOCAB_SIZE = 13


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LanguageModel(VOCAB_SIZE, embedding_size=5, hidden_size=7, num_layers=2)


@pytest.fixture
def stream():
    """Two documents, the first longer than any chunk, of 599 and 99 tokens with their ends."""
    ids = np.random.default_rng(0).integers(1, VOCAB_SIZE, 699)
    ids[[0, 599, 698]] = DOCUMENT_END
    return ids


def header(*, num_bytes, num_chars):
    return ShardHeader("uint16", 699, 2, num_bytes, num_chars, "", "", "")


def test_a_uniform_model_costs_log_of_its_vocabulary_for_each_token(model, stream):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    report = evaluate(model, stream, header(num_bytes=1500, num_chars=1000))
    num_tokens = 698  # all but the first document end, which is never predicted
    assert report.scores.num_tokens == num_tokens
    assert report.bits_per_byte == pytest.approx(num_tokens * math.log2(VOCAB_SIZE) / 1500, rel=1e-6)
    assert report.nats_per_char == pytest.approx(num_tokens * math.log(VOCAB_SIZE) / 1000, rel=1e-6)
    assert report.perplexity == pytest.approx(VOCAB_SIZE, rel=1e-6)


def test_a_uniform_model_has_the_confidence_of_chance(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    stream = np.array([0, 4, 1, 4, 0, 3, 2, 7, 0])
    report = evaluate(model, stream, header(num_bytes=8, num_chars=8))
    # Of equals the lowest id stands first: 0 is right for the two document ends of eight targets; 0 to 2 are the first
    # three, which holds 1, 0, 2 and 0; 0 to 4 the first five, which hold all but 7.
    assert (report.scores.top1, report.scores.top3, report.scores.top5) == (2, 4, 7)
    (only,) = report.calibration.bins
    assert (only.num_tokens, only.accuracy) == (8, 2 / 8)
    assert only.confidence == pytest.approx(1 / VOCAB_SIZE)
    assert report.calibration.expected_error == pytest.approx(2 / 8 - 1 / VOCAB_SIZE)


@pytest.mark.parametrize("chunk_len", [1, 7, 256])
def test_the_length_of_the_chunks_does_not_change_the_result(model, stream, chunk_len):
    sizes = header(num_bytes=1500, num_chars=1000)
    at_once = evaluate(model, stream, sizes, chunk_len=10_000)
    in_chunks = evaluate(model, stream, sizes, chunk_len=chunk_len)
    assert in_chunks.scores.num_tokens == at_once.scores.num_tokens
    assert in_chunks.bits_per_byte == pytest.approx(at_once.bits_per_byte, rel=1e-6)


def test_documents_are_scored_as_if_each_were_alone(model, stream):
    sizes = header(num_bytes=1500, num_chars=1000)
    both = evaluate(model, stream, sizes)
    alone = [evaluate(model, part, sizes) for part in (stream[:600], stream[599:])]
    assert both.scores.total_nats == pytest.approx(sum(part.scores.total_nats for part in alone), rel=1e-6)


def test_the_units_of_one_bit_per_token():
    scores = TokenScores(total_nats=8 * math.log(2), num_tokens=8, top1=2, top3=4, top5=8)
    report = EvaluationReport(scores, num_bytes=4, num_chars=2, seconds=2.0)
    record = report.to_json()
    assert record["bits_per_byte"] == pytest.approx(2)
    assert record["nats_per_char"] == pytest.approx(4 * math.log(2))
    assert record["perplexity"] == pytest.approx(2)
    assert record["next_token"] == {"top1": 0.25, "top3": 0.5, "top5": 1.0}
    assert record["tokens_per_second"] == 4


@pytest.fixture
def mixture(stream):
    ngrams = count_ngrams(stream, vocab_size=VOCAB_SIZE, order=3)
    weights = np.zeros((3 + NUM_SLOPES, NUM_OUTPUTS), np.float32)
    return NGramMixture(ngrams, MixingWeights(weights), adapts=True)


def test_the_costs_of_network_and_n_grams_alone_are_reported_with_the_mixture(model, stream, mixture):
    sizes = header(num_bytes=1500, num_chars=1000)
    with_memory = evaluate(model, stream, sizes, mixture=mixture).to_json()
    without = evaluate(model, stream, sizes).to_json()
    assert with_memory["gru_only"]["bits_per_byte"] == without["bits_per_byte"]
    assert not {"adapted", "gru_only", "ngrams_only"} & set(without)
    # The counts have seen this very text, so they pay less than the network, and the mixture less than the network.
    assert with_memory["ngrams_only"]["nats_per_char"] < without["nats_per_char"]
    assert with_memory["nats_per_char"] < without["nats_per_char"]
    assert with_memory["adapted"]["nats_per_char"] != with_memory["nats_per_char"]


def test_the_cost_of_the_n_grams_alone_agrees_with_a_calculation_by_hand():
    """Kneser-Ney of the document 1 1 2: before 1 stood 0 and 1, before 2 stood 1, before the end stood 2."""
    arrays = count_ngrams(np.array([0, 1, 1, 2, 0], np.uint16), vocab_size=3, order=2).to_arrays()
    discounts = np.array([[0.3, 0.6, 0.9], [0.5, 0.8, 1.1]], np.float32)
    ngrams = NGrams.from_arrays(arrays | {"discounts": discounts}, 3)
    torch.manual_seed(0)
    network = LanguageModel(3, embedding_size=5, hidden_size=7)
    mixture = NGramMixture(ngrams, MixingWeights(np.zeros((2 + NUM_SLOPES, NUM_OUTPUTS), np.float32)), adapts=False)
    sizes = ShardHeader("uint16", 4, 1, 2, 2, "", "", "")
    found = evaluate(network, np.array([0, 1, 2, 0], np.uint16), sizes, mixture=mixture).to_json()
    rest = (0.6 + 0.3 + 0.3) / 4  # of the unigrams, from which every token gets a third
    once, twice = (1 - 0.3) / 4 + rest / 3, (2 - 0.6) / 4 + rest / 3  # 0 and 2; 1
    # After 0 only 1 was seen, after 1 both 1 and 2, after 2 only 0: each once, so that 1/2 goes to each follower.
    probability = (0.5 + 0.5 * twice) * (0.5 / 2 + 0.5 * once) * (0.5 + 0.5 * once)
    assert found["ngrams_only"]["bits_per_byte"] == pytest.approx(-math.log2(probability) / 2, rel=1e-5)
    assert found["ngrams_only"]["nats_per_char"] == pytest.approx(-math.log(probability) / 2, rel=1e-5)


def test_the_adapted_cost_is_not_computed_twice_with_online_learning(model, stream, mixture):
    sizes = header(num_bytes=1500, num_chars=1000)
    plain = evaluate(model, stream, sizes, mixture=mixture)
    every = evaluate(model, stream, sizes, mixture=mixture, online=True)
    assert set(plain.variant_nats) - set(every.variant_nats) == {"adapted"}
    assert every.to_json()["adapted"]["nats_per_char"] == pytest.approx(plain.to_json()["adapted"]["nats_per_char"])


def test_suggestions_are_measured_on_the_beginning_of_the_text(trained_model, monkeypatch):
    model = load_model(trained_model)
    texts = ["The cat ate.", "A dog saw a river. Ünd so weiter.", "More."]
    stream = np.array([0, *(token for text in texts for token in [*model.tokenizer.encode(text.encode()), 0])])
    asked = []
    monkeypatch.setattr(
        report_module, "evaluate_suggestions", lambda completer, documents, **_: asked.append(documents)
    )
    measure_suggestions(model, stream)
    monkeypatch.setattr(
        report_module, "SUGGESTION_TEXT_BYTES", len("The cat ate.A dog saw a river. ") + 1
    )  # half an umlaut
    measure_suggestions(model, stream)
    assert asked == [texts, ["The cat ate.", "A dog saw a river. "]]


def test_a_sample_that_ends_within_a_document_has_no_end(trained_model, monkeypatch):
    model = load_model(trained_model)
    text = b"The cat ate the old bird near the river and then the dog saw it."
    stream = np.array([0, *model.tokenizer.encode(text), 0])
    told = []
    whole = measure_marginal(model, stream, progress=told.append)
    assert (whole.num_bytes, sum(told)) == (len(text), len(text))
    monkeypatch.setattr(report_module, "SAMPLE_BYTES", 12)
    part = measure_marginal(model, stream)
    assert part.num_bytes == 12
    completer = Completer.from_model(model)
    alone = score_marginal(completer.predictor, model.tokenizer, [text], max_bytes=12)
    assert part == alone
