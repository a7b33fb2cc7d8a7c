import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gru_complete.config import NGramsConfig
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import MixingWeights, NGramMixture
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.shards import documents
from gru_complete.training import mixing
from gru_complete.training.mixing import fit_mixing_weights, fit_mixture
from gru_complete.training.run import TrainingRequest, run_training
from gru_complete.training.scoring import score_tokens

VOCAB_SIZE = 12
CPU = torch.device("cpu")


def text(num_documents, seed, length=60):
    """Documents in which the next token is nearly always the one that stands three further on in a circle."""
    rng = np.random.default_rng(seed)
    stream = [0]
    for _ in range(num_documents):
        token = rng.integers(1, VOCAB_SIZE)
        for _ in range(length):
            stream.append(token)
            token = (token + 2) % (VOCAB_SIZE - 1) + 1 if rng.random() < 0.95 else rng.integers(1, VOCAB_SIZE)
        stream.append(0)
    return np.array(stream, np.uint16)


def noise(num_tokens, seed=0):
    return np.concatenate(([0], np.random.default_rng(seed).integers(1, VOCAB_SIZE, num_tokens), [0])).astype(np.uint16)


TRAINING, TUNING = text(20, seed=0), text(20, seed=1)


def network():
    torch.manual_seed(0)
    return LanguageModel(VOCAB_SIZE, embedding_size=8, hidden_size=16)


@pytest.fixture(scope="module")
def wise_network():
    """A network that has learnt the text."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    ids = torch.from_numpy(np.stack([document[:-1] for document in documents(TRAINING)]).astype(np.int64))
    for _ in range(60):
        optimizer.zero_grad()
        logits, _ = model(ids[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def wise_counts():
    return count_ngrams(TRAINING, vocab_size=VOCAB_SIZE, order=3)


@pytest.fixture(scope="module")
def foolish_counts():
    return count_ngrams(noise(1200), vocab_size=VOCAB_SIZE, order=3)


def nats_per_token(model, counts=None, mixing=None):
    mixture = None if counts is None else NGramMixture(counts, mixing, adapts=False)
    scores = score_tokens(model, documents(TUNING), mixture=mixture)
    return scores.total_nats / scores.num_tokens


def nats_of_counts(counts):
    return -float(np.log(counts.score_stream(TUNING).probabilities).mean())


def test_where_the_counts_know_everything_they_are_believed(wise_counts):
    model = network().eval()
    mixing = fit_mixing_weights(model, wise_counts, documents(TUNING), device=CPU)
    mixed, of_counts = nats_per_token(model, wise_counts, mixing), nats_of_counts(wise_counts)
    assert mixed <= of_counts
    assert of_counts < 0.3 * nats_per_token(model)
    *_, of_network = mixing.powers_and_shares_of_one(
        *wise_counts.evidence(wise_counts.advance(wise_counts.empty_context(), 5))
    )
    assert of_network < 0.1  # the share of the network alone; the product may believe it as little as it likes


def test_where_the_network_knows_everything_it_is_believed(wise_network, foolish_counts):
    mixing = fit_mixing_weights(wise_network, foolish_counts, documents(TUNING), device=CPU)
    mixed, of_network = nats_per_token(wise_network, foolish_counts, mixing), nats_per_token(wise_network)
    assert mixed <= 1.001 * of_network
    assert of_network < 0.3 * nats_of_counts(foolish_counts)
    *_, of_counts, _ = mixing.powers_and_shares_of_one(
        *foolish_counts.evidence(foolish_counts.advance(foolish_counts.empty_context(), 5))
    )
    assert of_counts < 0.1


def test_where_both_know_something_the_mixture_knows_more(wise_network, wise_counts):
    """Each is made half blind: the counts have seen little, the network is read at a third of its scores."""
    few = count_ngrams(TRAINING[:60], vocab_size=VOCAB_SIZE, order=3)
    model = network()
    model.load_state_dict(wise_network.state_dict())
    with torch.no_grad():
        model.embedding.mul_(0.5)
    mixing = fit_mixing_weights(model.eval(), few, documents(TUNING), device=CPU)
    assert nats_per_token(model, few, mixing) < min(nats_per_token(model), nats_of_counts(few))


@pytest.mark.parametrize("num_documents", [2, 4])  # a tuning split has at least 64 tokens
def test_a_network_that_only_does_harm_is_left_out_of_a_small_text(wise_network, wise_counts, num_documents):
    """A network that is sure of the wrong tokens, and a tuning split too small to fit the mixing weights on."""
    model = network()
    model.load_state_dict(wise_network.state_dict())
    with torch.no_grad():
        model.embedding.copy_(model.embedding.roll(1, dims=0))
    small = documents(text(num_documents, seed=3, length=30))
    fitted = fit_mixing_weights(model.eval(), wise_counts, small, device=CPU)
    assert nats_per_token(model, wise_counts, fitted) <= nats_of_counts(wise_counts) * (1 + 1e-6)
    helpful = fit_mixing_weights(
        wise_network, count_ngrams(TRAINING[:60], vocab_size=VOCAB_SIZE, order=3), small, device=CPU
    )
    assert not helpful.are_of_counts_alone


def test_fitting_beats_the_start(wise_network, wise_counts):
    start = MixingWeights.constant(mixing.START, wise_counts.order)
    fitted = fit_mixing_weights(wise_network, wise_counts, documents(TUNING), device=CPU)
    assert nats_per_token(wise_network, wise_counts, fitted) < nats_per_token(wise_network, wise_counts, start)


def test_the_same_text_gives_the_same_mixing_weights(wise_network, wise_counts):
    first, second = (fit_mixing_weights(wise_network, wise_counts, documents(TUNING), device=CPU) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)


@pytest.mark.parametrize("max_scores", [1, 100 * VOCAB_SIZE])
def test_a_few_tokens_give_usable_mixing_weights(wise_network, wise_counts, max_scores):
    fitted = fit_mixing_weights(wise_network, wise_counts, documents(TUNING), device=CPU, max_scores=max_scores)
    assert np.isfinite(fitted.weights).all()
    mixture = NGramMixture(wise_counts, fitted, adapts=False)
    NGramMixture.from_bytes(
        mixture.to_bytes(), vocab_size=VOCAB_SIZE, name="ngrams"
    )  # which refuses a gate beyond its bounds


def test_without_text_the_mixing_weights_stay_at_their_start(wise_network, wise_counts):
    fitted = fit_mixing_weights(wise_network, wise_counts, [], device=CPU)
    np.testing.assert_array_equal(fitted.weights[:3], np.tile(np.float32(mixing.START), (3, 1)))
    np.testing.assert_array_equal(fitted.weights[3:], 0)


@pytest.mark.parametrize("lengths", [[5000], [10] * 1000, [300] * 100, [5, 2000, 7, 900], [2] * 5000])
@pytest.mark.parametrize("max_tokens", [1, 400, 2000, 100_000])
def test_the_sample_has_as_many_tokens_as_allowed(lengths, max_tokens):
    texts = [np.arange(length) + 100_000 * number for number, length in enumerate(lengths)]
    beginnings = mixing.sample_beginnings(texts, max_tokens)
    for beginning in beginnings:
        whole = texts[beginning[0] // 100_000]
        assert len(beginning) >= 2
        np.testing.assert_array_equal(beginning, whole[: len(beginning)])
    num_targets = sum(len(beginning) - 1 for beginning in beginnings)
    available = sum(lengths) - len(lengths)
    assert num_targets <= max(max_tokens, len(beginnings))
    assert num_targets >= 0.4 * min(max_tokens, available)


def test_short_documents_are_read_to_their_end():
    """Of a thousand documents of ten tokens, a tenth: not one token of each."""
    texts = [np.arange(11)] * 1000
    assert {len(beginning) for beginning in mixing.sample_beginnings(texts, 1000)} == {11}


@pytest.mark.parametrize("adapt", [None, False, True])
def test_learning_on_the_way_is_on_where_it_gains(wise_network, wise_counts, adapt):
    repeating = np.concatenate(([0], np.tile(noise(15, seed=3)[1:-1], 30), [0])).astype(np.uint16)
    gains = {}
    for name, tuning in (("repeating", repeating), ("noise", noise(400, seed=4))):
        gains[name] = fit_mixture(
            wise_network, wise_counts, tuning, NGramsConfig(adapt=adapt), device=CPU
        ).mixture.adapts
    assert gains == {"repeating": adapt is not False, "noise": adapt is True}


def test_the_counts_and_the_gate_never_see_the_held_out_text(tmp_path, corpus_path, tiny_config):
    """Two texts of which only the held-out split differs give the same counts and the same gate."""
    text = corpus_path.read_bytes()
    held_out = len(text) // 50  # less than is held out
    memories = []
    for name, last in (("as it was", text[-held_out:]), ("changed", text[-held_out:].swapcase())):
        corpus_path.write_bytes(text[:-held_out] + last)
        request = TrainingRequest([str(corpus_path)], tmp_path / name, tiny_config, started=time.monotonic())
        list(run_training(request, stop_signal=lambda: None))
        memories.append((tmp_path / name / "ngrams.safetensors").read_bytes())
    assert memories[0] == memories[1]
