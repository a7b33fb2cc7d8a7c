import math

import numpy as np
import pytest
import torch
from torch import nn

from gru_complete.nn.cells import (
    CELL_CLASSES,
    GRUCell,
    GRUResetAfterCell,
    LSTMCell,
    ReLURNNCell,
    SimpleRNNCell,
    SimplifiedGRUCell,
)

INPUT_SIZE, HIDDEN_SIZE = 3, 4
every_cell = pytest.mark.parametrize("name", CELL_CLASSES)
every_gated_cell = pytest.mark.parametrize("name", [name for name in CELL_CLASSES if not name.startswith("rnn")])


def sigma(z):
    return 1 / (1 + np.exp(-z))


def reference_step(name, parameters, x, h, cell):
    """One step of one row, written from the table of the design: W acts on [h, x]."""
    weight = np.hstack([parameters["weight_h"], parameters["weight_x"]]).reshape(-1, HIDDEN_SIZE, HIDDEN_SIZE + len(x))
    bias = parameters["bias"].reshape(-1, HIDDEN_SIZE)
    z = [w @ np.concatenate([h, x]) + b for w, b in zip(weight, bias, strict=True)]
    if name == "rnn":
        return np.tanh(z[0]), cell
    if name == "rnn-relu":
        return np.maximum(z[0], 0), cell
    if name == "lstm":
        i, f, o, g = sigma(z[0]), sigma(z[1]), sigma(z[2]), np.tanh(z[3])
        cell = f * cell + i * g
        return o * np.tanh(cell), cell
    u, r = sigma(z[0]), sigma(z[1])
    if name == "gru-simple":
        c = np.tanh(z[1])
    elif name == "gru":
        c = np.tanh(weight[2] @ np.concatenate([r * h, x]) + bias[2])
    else:
        w_h, w_x = weight[2][:, :HIDDEN_SIZE], weight[2][:, HIDDEN_SIZE:]
        c = np.tanh(w_x @ x + bias[2] + r * (w_h @ h + parameters["bias_hidden"]))
    return u * c + (1 - u) * h, cell


def make_cell(name):
    """A cell in float64 whose biases are not zero, so that none can be forgotten."""
    cell = CELL_CLASSES[name](INPUT_SIZE, HIDDEN_SIZE).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
    return cell


def make_inputs(cell, batch_size=2):
    x = torch.randn(batch_size, INPUT_SIZE, dtype=torch.float64, requires_grad=True)
    state = torch.randn(cell.state_rows, batch_size, HIDDEN_SIZE, dtype=torch.float64, requires_grad=True)
    return x, state


@every_cell
def test_a_step_is_the_equations_of_the_table(name):
    cell = make_cell(name)
    x, state = make_inputs(cell)
    parameters = {key: value.detach().numpy() for key, value in cell.named_parameters()}
    result = cell(x, state).detach().numpy()
    for row in range(2):
        h, *memory = state[:, row].detach().numpy()
        expected = reference_step(name, parameters, x[row].detach().numpy(), h, memory[0] if memory else None)
        for k in range(cell.state_rows):
            np.testing.assert_allclose(result[k, row], expected[k], rtol=1e-12, atol=1e-12)


@every_cell
def test_gradients_of_a_step_are_those_of_finite_differences(name):
    cell = make_cell(name)
    names, parameters = zip(*cell.named_parameters(), strict=True)

    def step(x, state, *values):
        return torch.func.functional_call(cell, dict(zip(names, values, strict=True)), (x, state))

    assert torch.autograd.gradcheck(step, (*make_inputs(cell), *parameters))


@every_cell
def test_the_number_of_parameters_is_that_of_the_table(name):
    i, h = INPUT_SIZE, HIDDEN_SIZE
    expected = {
        "rnn": h * (h + i + 1),
        "rnn-relu": h * (h + i + 1),
        "gru-simple": 2 * h * (h + i + 1),
        "gru": 3 * h * (h + i + 1),
        "gru-reset-after": 3 * h * (h + i) + 4 * h,
        "lstm": 4 * h * (h + i + 1),
    }
    assert sum(parameter.numel() for parameter in CELL_CLASSES[name](i, h).parameters()) == expected[name]


def test_reset_after_is_the_gru_of_torch():
    cell = make_cell("gru-reset-after")
    theirs = nn.GRU(INPUT_SIZE, HIDDEN_SIZE, dtype=torch.float64)
    with torch.no_grad():
        for ours, (weight, bias) in {
            "x": (theirs.weight_ih_l0, theirs.bias_ih_l0),
            "h": (theirs.weight_hh_l0, theirs.bias_hh_l0),
        }.items():
            update, reset, candidate = getattr(cell, f"weight_{ours}").chunk(3)
            weight.copy_(torch.cat([reset, -update, candidate]))  # torch: r, z, n with z = 1 - u
            update, reset, candidate = cell.bias.chunk(3)
            hidden_bias = torch.cat([torch.zeros(2 * HIDDEN_SIZE), cell.bias_hidden])
            bias.copy_(torch.cat([reset, -update, candidate]) if ours == "x" else hidden_bias)
    x = torch.randn(5, 2, INPUT_SIZE, dtype=torch.float64)
    start = torch.randn(1, 2, HIDDEN_SIZE, dtype=torch.float64)
    expected, _ = theirs(x, start)
    state = start
    for step, x_t in enumerate(x):
        state = cell(x_t, state)
        torch.testing.assert_close(state[0], expected[step])


def test_lstm_is_the_lstm_of_torch():
    cell = make_cell("lstm")
    theirs = nn.LSTM(INPUT_SIZE, HIDDEN_SIZE, dtype=torch.float64)
    with torch.no_grad():
        for ours, weight in (
            (cell.weight_x, theirs.weight_ih_l0),
            (cell.weight_h, theirs.weight_hh_l0),
            (cell.bias, theirs.bias_ih_l0),
        ):
            i, f, o, g = ours.chunk(4)
            weight.copy_(torch.cat([i, f, g, o]))
        theirs.bias_hh_l0.zero_()
    x = torch.randn(5, 2, INPUT_SIZE, dtype=torch.float64)
    state = torch.randn(2, 2, HIDDEN_SIZE, dtype=torch.float64)
    expected, (_, last_cell) = theirs(x, (state[:1], state[1:]))
    for step, x_t in enumerate(x):
        state = cell(x_t, state)
        torch.testing.assert_close(state[0], expected[step])
    torch.testing.assert_close(state[1:], last_cell)


@pytest.mark.parametrize("name", ["gru-simple", "gru", "gru-reset-after"])
def test_the_other_update_gate_convention_is_the_same_cell_with_negated_weights(name):
    cell, negated = make_cell(name), CELL_CLASSES[name](INPUT_SIZE, HIDDEN_SIZE).double()
    negated.load_state_dict(cell.state_dict())
    with torch.no_grad():
        for parameter in (negated.weight_x, negated.weight_h, negated.bias):
            parameter[:HIDDEN_SIZE].neg_()
    x, state = make_inputs(cell)
    # h' = z*h + (1-z)*c from the negated weights' gate z, where c is what the cell writes if u = 1.
    z = torch.sigmoid(negated.input_products(x)[:, :HIDDEN_SIZE] + state[0] @ negated.weight_h[:HIDDEN_SIZE].t())
    with torch.no_grad():
        cell_writing_all = CELL_CLASSES[name](INPUT_SIZE, HIDDEN_SIZE).double()
        cell_writing_all.load_state_dict(cell.state_dict())
        cell_writing_all.bias[:HIDDEN_SIZE] = 1000.0
    candidate = cell_writing_all(x, state)[0]
    torch.testing.assert_close(cell(x, state)[0], z * state[0] + (1 - z) * candidate)


@every_gated_cell
def test_a_fresh_cell_mostly_keeps_its_state(name):
    cell = CELL_CLASSES[name](INPUT_SIZE, HIDDEN_SIZE)
    assert cell.bias[:HIDDEN_SIZE].eq(-1.0).all()
    if name == "lstm":
        assert cell.bias[HIDDEN_SIZE : 2 * HIDDEN_SIZE].eq(1.0).all()
        assert cell.bias[2 * HIDDEN_SIZE :].eq(0.0).all()
    else:
        assert cell.bias[HIDDEN_SIZE:].eq(0.0).all()


@every_gated_cell
def test_chrono_biases_lie_in_their_range_and_differ(name):
    cell = CELL_CLASSES[name](INPUT_SIZE, 200)
    cell.reset_parameters(chrono_length=100)
    spans = (-cell.bias[:200]).exp()
    assert spans.min() >= 1 - 1e-5
    assert 90 < spans.max() <= 99 + 1e-3
    assert len(spans.unique()) > 150


def test_chrono_lengths_without_a_range_are_refused():
    with pytest.raises(ValueError, match="chrono_length=2"):
        GRUCell(INPUT_SIZE, HIDDEN_SIZE).reset_parameters(chrono_length=2)


@every_cell
def test_fresh_weights_are_a_function_of_the_seed(name):
    cells = [CELL_CLASSES[name](INPUT_SIZE, HIDDEN_SIZE) for _ in range(2)]
    for cell in cells:
        cell.reset_parameters(generator=torch.Generator().manual_seed(5))
    for ours, theirs in zip(*(cell.parameters() for cell in cells), strict=True):
        assert torch.equal(ours, theirs)


@every_cell
def test_a_reset_leaves_nothing_of_the_old_parameters(name):
    fresh, used = CELL_CLASSES[name](INPUT_SIZE, HIDDEN_SIZE), make_cell(name).float()
    for cell in (fresh, used):
        cell.reset_parameters(generator=torch.Generator().manual_seed(5))
    for ours, theirs in zip(fresh.parameters(), used.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@every_cell
def test_fresh_recurrent_weights_are_orthogonal_gate_by_gate(name):
    for gate in CELL_CLASSES[name](INPUT_SIZE, HIDDEN_SIZE).weight_h.split(HIDDEN_SIZE):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(HIDDEN_SIZE))


def test_a_fresh_rectified_cell_keeps_its_state_and_the_whole_gradient():
    cell = ReLURNNCell(INPUT_SIZE, HIDDEN_SIZE)
    start = torch.rand(1, 2, HIDDEN_SIZE, requires_grad=True)
    state = start
    for _ in range(100):
        state = cell(torch.zeros(2, INPUT_SIZE), state)
    torch.testing.assert_close(state, start)
    (gradient,) = torch.autograd.grad(state.sum(), start)
    torch.testing.assert_close(gradient, torch.ones_like(start))


@every_cell
def test_fresh_input_weights_fill_their_range_gate_by_gate(name):
    bound = math.sqrt(6 / (50 + 30))
    for gate in CELL_CLASSES[name](50, 30).weight_x.split(30):
        assert 0.9 * bound < gate.abs().max() <= bound


def test_the_cells_have_the_names_of_the_model_file():
    from gru_complete.model.architecture import CELLS, GATES

    assert tuple(CELL_CLASSES) == tuple(CELLS)
    assert {name: cell.num_gates for name, cell in CELL_CLASSES.items()} == GATES
    classes = [SimpleRNNCell, ReLURNNCell, SimplifiedGRUCell, GRUCell, GRUResetAfterCell, LSTMCell]
    assert list(CELL_CLASSES.values()) == classes
