import numpy as np
import pytest

from gru_complete.model.architecture import CELLS, Architecture
from gru_complete.runtime.stepper import Stepper

VOCAB_SIZE = 11


def architecture(cell, num_layers=1, embedding_size=3, hidden_size=5):
    return Architecture(cell, VOCAB_SIZE, embedding_size, hidden_size, num_layers)


def random_weights(arch, seed=0, scale=1.0):
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=shape, scale=scale) for name, shape in arch.tensor_shapes().items()}


def sigma(x):
    return 1 / (1 + np.exp(-x))


def reference_cell(cell, weight_x, weight_h, bias, bias_hidden, x, h, memory):
    """The table of cells, line by line."""
    size = len(h)

    def gate(index, hidden):
        rows = slice(index * size, (index + 1) * size)
        return weight_h[rows] @ hidden + weight_x[rows] @ x + bias[rows]

    if cell == "rnn":
        return np.tanh(gate(0, h)), memory
    if cell == "rnn-relu":
        return np.maximum(gate(0, h), 0), memory
    if cell == "gru-simple":
        u, c = sigma(gate(0, h)), np.tanh(gate(1, h))
        return u * c + (1 - u) * h, memory
    if cell == "gru":
        u, r = sigma(gate(0, h)), sigma(gate(1, h))
        c = np.tanh(gate(2, r * h))
        return u * c + (1 - u) * h, memory
    if cell == "gru-reset-after":
        u, r = sigma(gate(0, h)), sigma(gate(1, h))
        rows = slice(2 * size, 3 * size)
        c = np.tanh(weight_x[rows] @ x + bias[rows] + r * (weight_h[rows] @ h + bias_hidden))
        return u * c + (1 - u) * h, memory
    i, f, o, g = sigma(gate(0, h)), sigma(gate(1, h)), sigma(gate(2, h)), np.tanh(gate(3, h))
    memory = f * memory + i * g
    return o * np.tanh(memory), memory


def reference_logits(arch, weights, tokens):
    h = np.zeros((arch.num_layers, arch.hidden_size))
    memory = np.zeros_like(h)
    for token in tokens:
        x = weights["embedding"][token]
        for n in range(arch.num_layers):
            names = ("weight_x", "weight_h", "bias", "bias_hidden")
            arrays = [weights.get(f"cells.{n}.{name}") for name in names]
            h[n], memory[n] = reference_cell(arch.cell, *arrays, x, h[n], memory[n])
            x = h[n] if n == 0 else x + h[n]
    if "projection" in weights:
        x = weights["projection"] @ x
    return weights["embedding"] @ x + weights["output_bias"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("embedding_size", [3, 5])  # with a projection and without
def test_every_cell_computes_its_equations(cell, num_layers, embedding_size):
    arch = architecture(cell, num_layers, embedding_size)
    weights = random_weights(arch)
    stepper = Stepper(arch, weights, dtype=np.float64)
    tokens = [0, 3, 10, 3, 3, 7]
    hidden, _ = stepper.read(tokens, stepper.initial_state())
    np.testing.assert_allclose(stepper.logits(hidden), reference_logits(arch, weights, tokens), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_reading_at_once_equals_stepping_equals_reading_in_chunks(cell):
    arch = architecture(cell, num_layers=2)
    stepper = Stepper(arch, random_weights(arch))
    tokens = [1, 2, 3, 4, 5, 6, 7]
    at_once, end = stepper.read(tokens, stepper.initial_state())
    state = stepper.initial_state()
    for token in tokens:
        stepped, state = stepper.step(token, state)
    _, middle = stepper.read(tokens[:3], stepper.initial_state())
    in_chunks, chunk_end = stepper.read(tokens[3:], middle)
    assert at_once.tolist() == stepped.tolist() == in_chunks.tolist()
    assert end.tolist() == state.tolist() == chunk_end.tolist()


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_does_not_change_its_state_and_repeats_exactly(cell):
    arch = architecture(cell, num_layers=2)
    stepper = Stepper(arch, random_weights(arch))
    _, state = stepper.step(1, stepper.initial_state())
    before = state.copy()
    first = stepper.step(2, state)[0].copy()
    stepper.step(3, state)
    assert state.tolist() == before.tolist()
    assert stepper.step(2, state)[0].tolist() == first.tolist()


@pytest.mark.parametrize("cell", CELLS)
def test_the_initial_state_has_the_cell_s_rows(cell):
    arch = architecture(cell, num_layers=2)
    state = Stepper(arch, random_weights(arch)).initial_state()
    assert (state.shape, state.dtype) == ((2, 2 if cell == "lstm" else 1, 5), np.float32)
    assert not state.any()


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn-relu"])  # which has neither gates nor bounds
def test_saturated_gates_give_no_warning_and_stay_within_bounds(cell):
    arch = architecture(cell)
    stepper = Stepper(arch, random_weights(arch, scale=1e6))
    hidden, state = stepper.read([1, 2, 3], stepper.initial_state())
    assert np.isfinite(stepper.logits(hidden)).all()
    assert (abs(state[:, 0]) <= 1).all()


def test_reading_no_tokens_is_an_error():
    arch = architecture("gru")
    stepper = Stepper(arch, random_weights(arch))
    with pytest.raises(ValueError, match="no tokens"):
        stepper.read([], stepper.initial_state())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("embedding_size", [3, 5])
@pytest.mark.parametrize("num_rows", [1, 2, 7])
def test_many_rows_at_once_equal_single_steps(cell, num_layers, embedding_size, num_rows):
    arch = architecture(cell, num_layers, embedding_size)
    stepper = Stepper(arch, random_weights(arch))
    tokens = [(3 * row + 1) % VOCAB_SIZE for row in range(num_rows)]
    before = [stepper.read(range(row + 1), stepper.initial_state())[1] for row in range(num_rows)]
    states = np.stack(before)
    hidden, after = stepper.step_many(tokens, states)
    logits = stepper.logits(hidden)
    assert (logits.shape, after.shape, after.dtype) == ((num_rows, VOCAB_SIZE), states.shape, np.float32)
    assert states.tolist() == np.stack(before).tolist()
    for row in range(num_rows):
        one_hidden, one_state = stepper.step(tokens[row], before[row])
        np.testing.assert_allclose(hidden[row], one_hidden, rtol=0, atol=1e-5)
        np.testing.assert_allclose(after[row], one_state, rtol=0, atol=1e-5)
        np.testing.assert_allclose(logits[row], stepper.logits(one_hidden), rtol=0, atol=1e-5)
