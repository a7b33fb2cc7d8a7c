import math

import numpy as np
import pytest
import torch

from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.nn.language_model import LanguageModel, drop_features, export_weights, load_weights

VOCAB_SIZE = 11
every_cell = pytest.mark.parametrize("cell", CELL_CLASSES)


def make_model(**settings):
    return LanguageModel(VOCAB_SIZE, **{"embedding_size": 5, "hidden_size": 7, "num_layers": 2, **settings}).eval()


def some_tokens(batch_size=3, num_tokens=8, *, low=1):
    """Tokens without a document end unless ``low`` is 0."""
    return torch.randint(low, VOCAB_SIZE, (batch_size, num_tokens))


@every_cell
@pytest.mark.parametrize("seq_len", [1, 3, 8])
@pytest.mark.parametrize("document_ends", [False, True])
def test_reading_in_chunks_equals_reading_at_once(cell, seq_len, document_ends):
    model, tokens = make_model(cell=cell), some_tokens()
    if document_ends:
        tokens[0, 4] = tokens[1, 0] = tokens[2, 7] = 0
    at_once, end = model(tokens)
    state, parts = None, []
    for chunk in tokens.split(seq_len, dim=1):
        logits, state = model(chunk, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), at_once)
    torch.testing.assert_close(state, end)


@every_cell
def test_nothing_before_a_document_end_changes_what_follows(cell):
    model, tokens = make_model(cell=cell), some_tokens()
    tokens[:, 4] = 0
    logits, _ = model(tokens, torch.randn_like(model.initial_state(3)))
    alone, _ = model(tokens[:, 4:])
    torch.testing.assert_close(logits[:, 4:], alone)


@every_cell
def test_shapes_are_those_of_the_contract(cell):
    logits, state = make_model(cell=cell)(some_tokens(3, 8))
    assert logits.shape == (3, 8, VOCAB_SIZE)
    assert state.shape == (2, 2 if cell == "lstm" else 1, 3, 7)


@every_cell
@pytest.mark.parametrize("hidden_size", [5, 7])
def test_parameters_have_the_names_and_shapes_of_the_model_file(cell, hidden_size):
    model = make_model(cell=cell, hidden_size=hidden_size)
    shapes = {name: array.shape for name, array in export_weights(model).items()}
    assert shapes == model.architecture.tensor_shapes()
    assert sum(parameter.numel() for parameter in model.parameters()) == model.architecture.num_parameters


def test_embedding_and_output_weights_are_one_parameter():
    model = make_model(hidden_size=5, num_layers=1)
    before, _ = model(torch.tensor([[1]]))
    with torch.no_grad():
        model.embedding[9] += 1.0
    after, _ = model(torch.tensor([[1]]))
    assert torch.equal(before[..., :9], after[..., :9])
    assert not torch.equal(before[..., 9], after[..., 9])


def test_the_projection_is_there_only_when_the_sizes_differ():
    assert make_model(hidden_size=5).projection is None
    assert make_model(hidden_size=7).projection.shape == (5, 7)


def test_from_the_second_cell_on_the_input_is_added_to_the_output():
    deep, shallow = make_model(num_layers=3), make_model(num_layers=1)
    with torch.no_grad():
        for cell in deep.cells[1:]:  # with all-zero weights a cell's output is zero
            for parameter in cell.parameters():
                parameter.zero_()
        weights = export_weights(deep)
        load_weights(shallow, {name: weights[name] for name in export_weights(shallow)})
    tokens = some_tokens()
    torch.testing.assert_close(deep(tokens)[0], shallow(tokens)[0])


def test_dropout_acts_only_in_training_mode():
    model, tokens = make_model(dropout=0.5), some_tokens()
    expected, _ = make_model_like(model, dropout=0.0)(tokens)
    torch.testing.assert_close(model(tokens)[0], expected)
    model.train()
    assert not torch.equal(model(tokens)[0], model(tokens)[0])


def test_dropout_is_a_function_of_the_global_seed():
    model, tokens = make_model(dropout=0.5).train(), some_tokens()
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(model(tokens)[0])
    assert torch.equal(*outputs)


def test_dropout_leaves_the_state_to_the_recurrence():
    model = make_model(dropout=0.99, num_layers=1).train()
    with torch.no_grad():
        model.embedding.zero_()
    first, second = (model(some_tokens(), torch.ones(1, 1, 3, 7))[1] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_dropped_features_are_zero_and_the_others_keep_the_mean(share):
    features = torch.ones(1000, 1000)
    kept = drop_features(features, share)
    assert (kept == 0).double().mean().item() == pytest.approx(share, abs=0.004)
    assert len(kept.unique()) == 2
    assert kept.double().mean().item() == pytest.approx(1, abs=0.02)
    assert drop_features(features[:7, :3], share).shape == (7, 3)


def test_dropped_features_pass_no_gradient():
    features = torch.randn(50, 50, requires_grad=True)
    kept = drop_features(features, 0.5)
    kept.sum().backward()
    assert torch.equal(features.grad == 0, kept == 0)
    assert features.grad.unique().tolist() == [0.0, 2.0]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_cannot_be_dropped_are_refused(share):
    with pytest.raises(ValueError, match="dropout"):
        make_model(dropout=share)


def make_model_like(model, **settings):
    copy = make_model(**settings)
    load_weights(copy, export_weights(model))
    return copy


@every_cell
def test_exported_weights_give_the_same_model(cell):
    model, tokens = make_model(cell=cell), some_tokens(low=0)
    copy = make_model_like(model, cell=cell)
    assert torch.equal(copy(tokens)[0], model(tokens)[0])


def test_exported_weights_do_not_change_with_the_model():
    model = make_model()
    weights = export_weights(model)
    before = weights["embedding"].copy()
    with torch.no_grad():
        model.embedding.zero_()
    np.testing.assert_array_equal(weights["embedding"], before)


def test_weights_that_do_not_fit_are_refused():
    weights = export_weights(make_model())
    with pytest.raises(ValueError, match="do not fit"):
        load_weights(make_model(hidden_size=6), weights)
    del weights["output_bias"]
    with pytest.raises(ValueError, match="do not fit"):
        load_weights(make_model(), weights)


@every_cell
def test_the_loss_is_the_mean_negative_log_probability_of_the_targets(cell):
    model, tokens = make_model(cell=cell), some_tokens(low=0)
    logits, end = model(tokens[:, :-1])
    log_probabilities = logits.double().log_softmax(-1)
    expected = -sum(log_probabilities[b, t, tokens[b, t + 1]] for b in range(3) for t in range(7)) / 21
    loss, state = model.loss(tokens[:, :-1], tokens[:, 1:])
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state, end)


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    model = make_model(embedding_size=3, hidden_size=4).double()
    tokens = some_tokens(2, 5)
    tokens[1, 2] = 0
    names, parameters = zip(*model.named_parameters(), strict=True)

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, state):
            return self.model.loss(tokens[:, :-1], tokens[:, 1:], state)

    def loss(state, *values):
        named = {f"model.{name}": value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(Loss(), named, (state,))

    state = torch.randn_like(model.initial_state(2)).requires_grad_()
    assert torch.autograd.gradcheck(loss, (state, *parameters))


def test_a_model_without_weights_is_as_unsure_as_its_vocabulary_is_large():
    model = make_model()
    with torch.no_grad():
        model.embedding.zero_()
    loss, _ = model.loss(some_tokens(), some_tokens())
    assert loss.item() == pytest.approx(math.log(VOCAB_SIZE))


def test_a_fresh_model_is_sure_of_nothing():
    model = LanguageModel(1000, embedding_size=64, hidden_size=96)
    tokens = torch.randint(1000, (4, 50))
    loss, _ = model.loss(tokens, tokens.roll(-1, dims=1))
    assert loss.item() == pytest.approx(math.log(1000), rel=0.02)


def test_fresh_weights_are_a_function_of_the_global_seed():
    models = []
    for _ in range(2):
        torch.manual_seed(7)
        models.append(export_weights(make_model()))
    for name, array in models[0].items():
        np.testing.assert_array_equal(array, models[1][name])


def test_update_biases_and_chrono_lengths_reach_every_cell():
    for cell in make_model(update_bias=-2.0).cells:
        assert cell.bias[:7].eq(-2.0).all()
    for cell in make_model(chrono_length=50).cells:
        assert (-cell.bias[:7]).exp().ge(1 - 1e-5).all()


def test_training_is_the_same_to_the_last_bit_each_time():
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        model, state = make_model(dropout=0.3).train(), None
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(3):
            tokens = some_tokens(num_tokens=9, low=0)
            loss, state = model.loss(tokens[:, :-1], tokens[:, 1:], state)
            state = state.detach()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        results.append(export_weights(model))
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name])


@every_cell
def test_a_short_text_can_be_memorised(cell):
    model = make_model(cell=cell, embedding_size=16, hidden_size=16, num_layers=1).train()
    tokens = torch.tensor([[0, 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 0]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(150):
        loss, _ = model.loss(tokens[:, :-1], tokens[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # as in training; rnn-relu explodes without
        optimizer.step()
    assert loss.item() < 0.1


def test_weight_dropout_drops_recurrent_weights_in_training_only():
    model = LanguageModel(11, embedding_size=4, hidden_size=6, weight_dropout=0.5)
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    assert torch.equal(model.eval()(tokens)[0], model(tokens)[0])
    model.train()
    torch.manual_seed(0)
    first = model(tokens)[0]
    assert not torch.equal(first, model(tokens)[0])
    torch.manual_seed(0)
    assert torch.equal(first, model(tokens)[0])
    first.sum().backward()
    dropped = model.cells[0].weight_h.grad == 0  # what was dropped learns nothing from this chunk
    assert 0.2 < dropped.float().mean() < 0.8


@pytest.mark.parametrize("cell", CELL_CLASSES)
def test_other_recurrent_weights_make_the_same_cell(cell):
    torch.manual_seed(0)
    one = CELL_CLASSES[cell](3, 4)
    x, state = torch.randn(2, 3), torch.randn(one.state_rows, 2, 4)
    twin = one.with_recurrent_weights(2 * one.weight_h)
    before = one.step(one.input_products(x), state)
    after = twin.step(twin.input_products(x), state)
    assert not torch.equal(before, after)
    assert torch.equal(one.step(one.input_products(x), state), before)
    with torch.no_grad():
        one.weight_h.mul_(2)
    assert torch.equal(one.step(one.input_products(x), state), after)
