import math

import numpy as np
import pytest
import torch

from gru_complete.errors import CorpusError
from gru_complete.evaluation.gradients import (
    EffectiveContext,
    effective_context,
    gradient_flow,
    half_life,
    measure_gradients,
    untrained_like,
)
from gru_complete.evaluation.intervals import Interval
from gru_complete.nn.language_model import LanguageModel
from gru_complete.text.tokenizer import DOCUMENT_END

VOCAB_SIZE = 11


def random_stream(length, *, ends=()):
    ids = np.random.default_rng(0).integers(1, VOCAB_SIZE, length)
    ids[[0, *ends, -1]] = DOCUMENT_END
    return ids


def language_model(cell, **sizes):
    torch.manual_seed(1)
    return LanguageModel(VOCAB_SIZE, cell=cell, **({"embedding_size": 5, "hidden_size": 6} | sizes))


@torch.no_grad()
def deaf(model):
    """Of a model whose states stay zero, since no input and no bias moves them, the Jacobian is known."""
    for cell in model.cells:
        cell.weight_x.zero_()
        cell.weight_h.zero_()
        cell.bias.zero_()
    return model


def test_a_simple_rnn_multiplies_the_gradient_by_its_recurrent_weight_at_each_step():
    model = deaf(language_model("rnn"))
    with torch.no_grad():
        model.cells[0].weight_h.copy_(0.8 * torch.eye(6))
    flow = gradient_flow(model, random_stream(300), steps_back=20, num_windows=3)
    assert flow.shares == [pytest.approx([0.8**k for k in range(21)], rel=1e-5)]
    assert flow.half_lives == [pytest.approx(math.log(2) / -math.log(0.8), rel=1e-5)]


@pytest.mark.parametrize("cell", ["gru-simple", "gru", "gru-reset-after"])
def test_a_gated_unit_passes_back_the_share_that_its_update_gate_keeps(cell):
    model = deaf(language_model(cell))
    bias = -3.0
    with torch.no_grad():
        model.cells[0].bias[:6] = bias
    kept = 1 - 1 / (1 + math.exp(-bias))
    flow = gradient_flow(model, random_stream(300), steps_back=30, num_windows=3)
    assert flow.shares == [pytest.approx([kept**k for k in range(31)], rel=1e-5)]
    assert flow.half_lives == [pytest.approx(math.log(2) / -math.log(kept), rel=1e-4)]


def test_an_lstm_passes_back_the_share_that_its_forget_gate_keeps():
    """Counted from the state before the last, in which the loss reads the cell."""
    model = deaf(language_model("lstm"))
    bias = 2.0
    with torch.no_grad():
        model.cells[0].bias[6:12] = bias
    kept = 1 / (1 + math.exp(-bias))
    flow = gradient_flow(model, random_stream(300), steps_back=10, num_windows=2)
    assert flow.shares == [pytest.approx([kept**k for k in range(11)], rel=1e-5)]
    assert flow.half_lives == [pytest.approx(math.log(2) / -math.log(kept), rel=1e-4)]


def test_no_gradient_crosses_a_document_end():
    stream = random_stream(186, ends=[100])  # one window: the last target is token 185, and token 184 was read last
    shares = gradient_flow(language_model("gru"), stream, steps_back=120, num_windows=1).shares[0]
    crossed = 184 - 100 + 1
    assert all(share > 0 for share in shares[:crossed])
    assert all(share == 0 for share in shares[crossed:])


@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_gradient_agrees_with_a_difference_quotient(num_layers):
    """Of the last layer: what a lower one writes goes on in the states of the higher ones, too."""
    model = language_model("gru", num_layers=num_layers).double()
    stream, steps, end = random_stream(80), 3, 64 + 3 + 1  # one window: its last target is token 68
    ours = gradient_flow(model, stream, steps_back=steps, num_windows=1).shares[-1]
    tokens = torch.from_numpy(stream[None, :])

    @torch.no_grad()
    def nats(states, position):
        features, _ = model.read(tokens[:, position:end], states)
        return -float(model.logits(features[-1]).log_softmax(-1)[0, stream[end]])

    norms = []
    for position in range(end - 1, end - 1 - steps, -1):
        with torch.no_grad():
            _, states = model.read(tokens[:, :position], model.initial_state(1))
        gradient = []
        for unit in range(6):
            above, below = states.clone(), states.clone()
            above[-1, 0, 0, unit] += 1e-5
            below[-1, 0, 0, unit] -= 1e-5
            gradient.append((nats(above, position) - nats(below, position)) / 2e-5)
        norms.append(np.linalg.norm(gradient))
    assert np.array(ours[2:]) / ours[1] == pytest.approx(np.array(norms[1:]) / norms[0], rel=1e-4)


def test_half_lives_are_interpolated_on_a_line_through_the_logarithms():
    assert half_life([1.0, 0.5]) == 1.0
    assert half_life([0.25**k for k in range(3)]) == pytest.approx(0.5)
    assert half_life([1.0, 0.8, 0.4]) == pytest.approx(1 + math.log(1.6) / math.log(2))
    assert half_life([1.0, 2.0, 1.0]) == math.inf
    assert half_life([1.0, 0.0]) == 1.0


def test_a_model_without_recurrence_needs_one_token():
    model = language_model("gru")
    with torch.no_grad():  # u = 1 and r = 0: nothing of the state before is left
        model.cells[0].weight_h.zero_()
        model.cells[0].bias[:6] = 50.0
        model.cells[0].bias[6:12] = -50.0
    context = effective_context(model, random_stream(2000), context_lengths=(1, 2, 8))
    assert context.matters_up_to == 1
    assert all(abs(extra.value) < 1e-5 for extra in context.extra_nats.values())


def test_extra_nats_are_those_of_reading_only_the_last_tokens():
    model = language_model("gru")
    stream = random_stream(400, ends=[150])
    context = effective_context(model, stream, context_lengths=(1, 3), num_positions=10_000)
    extra = {1: [], 3: []}
    full = []

    def nats(tokens, target):
        with torch.no_grad():
            logits, _ = model(torch.from_numpy(tokens[None, :]))
        return -float(logits[0, -1].log_softmax(-1)[target])

    for begin, end in [(0, 150), (150, 399)]:
        for place in range(begin + 4, end):
            full.append(nats(stream[begin:place], stream[place]))
            for kept, found in extra.items():
                alone = np.concatenate(([DOCUMENT_END], stream[place - kept : place]))
                found.append(nats(alone, stream[place]) - full[-1])
    assert context.num_positions == len(full)
    assert context.full_nats == pytest.approx(np.mean(full), rel=1e-5)
    for kept, found in extra.items():
        assert context.extra_nats[kept].value == pytest.approx(np.mean(found), abs=1e-5)


def test_the_context_matters_up_to_the_length_from_which_on_more_does_not_help():
    def context(*values):
        return EffectiveContext({2**i: Interval(value, value, value) for i, value in enumerate(values)}, 3.0, 100)

    assert context(0.5, 0.005, 0.02, 0.001, 0.0).matters_up_to == 8
    assert context(0.5, 0.2).matters_up_to is None
    assert context(0.0, 0.0).matters_up_to == 1


def test_texts_that_are_too_short_are_refused():
    model = language_model("rnn")
    with pytest.raises(CorpusError, match="100 tokens"):
        gradient_flow(model, random_stream(100))
    with pytest.raises(CorpusError, match="too short"):
        effective_context(model, random_stream(60))


def test_the_model_is_left_as_it_was():
    model = language_model("lstm", num_layers=2).train()
    before = [parameter.clone() for parameter in model.parameters()]
    report = measure_gradients(model, random_stream(1500))
    assert model.training
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    figures = report.to_json()
    assert len(figures["gradient_flow"]["trained"]["shares"]) == 2
    assert figures["gradient_flow"]["at_start"]["half_lives"][0] == pytest.approx(report.at_start.half_lives[0])
    fresh = untrained_like(model)
    assert fresh.architecture == model.architecture
