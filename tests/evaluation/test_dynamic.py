import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gru_complete.evaluation.dynamic import DynamicSettings, dynamic_logits
from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.nn.language_model import LanguageModel
from tests.costs import token_nats

VOCAB_SIZE = 11


@pytest.fixture(params=CELL_CLASSES)
def model(request):
    torch.manual_seed(0)
    return LanguageModel(VOCAB_SIZE, cell=request.param, embedding_size=5, hidden_size=7, num_layers=2, dropout=0.5)


@pytest.fixture
def document():
    inner = np.random.default_rng(0).integers(1, VOCAB_SIZE, 50)
    return np.concatenate([[0], inner, [0]]).astype(np.uint16)


SETTINGS = DynamicSettings(learning_rate=0.03, segment_len=8)


def assert_equal_nats(found, expected):
    """But for rounding, which goes by the scores: those of an untrained ``rnn-relu`` are hundreds, others below ten."""
    np.testing.assert_allclose(found, expected, atol=1e-6 * max(10.0, float(expected.max())))


def all_logits(model, tokens, settings=SETTINGS):
    return torch.cat([logits for logits, _ in dynamic_logits(model, tokens, settings)])


def test_changing_the_future_never_changes_the_score_of_the_past(model, document):
    expected = all_logits(model, document)
    for place in range(1, len(document)):
        changed = document.copy()
        changed[place:] = changed[place:] % 10 + 1  # another token, never the document end
        assert torch.equal(all_logits(model, changed)[:place], expected[:place])
        assert not torch.equal(all_logits(model, changed)[place:], expected[place:]) or place == len(document) - 1


def test_the_model_is_left_as_it_was(model, document, dynamic_nats):
    model.train()
    before = copy.deepcopy(model)
    first = dynamic_nats(model, document, SETTINGS)
    for (name, parameter), old in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, old), name
        assert parameter.requires_grad
        assert parameter.grad is None
    assert model.training
    np.testing.assert_array_equal(dynamic_nats(model, document, SETTINGS), first)


@pytest.mark.parametrize("settings", [{"learning_rate": 0.0}, {"segment_len": 1000}], ids=str)
def test_without_a_step_the_score_is_the_static_one(model, document, settings, dynamic_nats):
    nats = dynamic_nats(model, document, DynamicSettings(**settings))
    assert_equal_nats(nats, token_nats(model, document))


def test_a_step_follows_the_gradient_and_decays_towards_the_trained_weights(document):
    model = LanguageModel(VOCAB_SIZE, embedding_size=5, hidden_size=7).double()
    settings = DynamicSettings(learning_rate=0.03, decay=0.25, segment_len=8, smoothing=0.75)
    segments = dynamic_logits(model, document, settings)
    slow = copy.deepcopy(model)
    ids, state = torch.from_numpy(document.astype(np.int64)), None
    squares = {name: [] for name, _ in model.named_parameters()}
    for start in range(0, len(ids) - 1, 8):
        window = ids[start : start + 9]
        logits, state = slow(window[None, :-1], state)
        found, targets = next(segments)
        torch.testing.assert_close(found, logits[0])
        assert torch.equal(targets, window[1:])
        slow.zero_grad()
        F.cross_entropy(logits[0], window[1:]).backward()
        state = state.detach()
        with torch.no_grad():
            for name, trained in model.named_parameters():
                parameter = slow.get_parameter(name)
                squares[name].append(parameter.grad.square().mean())
                weights = 0.75 ** torch.arange(len(squares[name])).flip(0)  # the older, the less
                mean_square = (weights * torch.stack(squares[name])).sum() / weights.sum()
                step = 0.03 * parameter.grad / mean_square.sqrt()
                parameter.copy_(0.75 * parameter + 0.25 * trained - step)
    assert next(segments, None) is None


def test_a_repeated_phrase_is_learnt(model, dynamic_nats):
    phrase = np.random.default_rng(1).integers(1, VOCAB_SIZE, 20)
    tokens = np.concatenate([[0], np.tile(phrase, 30), [0]])
    assert dynamic_nats(model, tokens, SETTINGS)[-200:].mean() < 0.8 * token_nats(model, tokens)[-200:].mean()


def test_nothing_is_learnt_from_a_gradient_that_is_not_finite(model, document, monkeypatch, dynamic_nats):
    monkeypatch.setattr(torch.autograd, "grad", lambda _, inputs: [torch.full_like(part, torch.nan) for part in inputs])
    assert_equal_nats(dynamic_nats(model, document, SETTINGS), token_nats(model, document))


def test_a_document_without_text_costs_nothing(dynamic_nats):
    model = LanguageModel(VOCAB_SIZE, embedding_size=5, hidden_size=7)
    assert dynamic_nats(model, np.array([0])).shape == (0,)
