import math
from pathlib import Path

import numpy as np
import pytest

from gru_complete.errors import CorpusError
from gru_complete.inspection.trace import Trace, TracedNetwork, printable_piece, read_in_parallel, trace_text
from gru_complete.model.architecture import CELLS, Architecture
from gru_complete.model.directory import LoadedModel
from gru_complete.model.manifest import Manifest
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.tokenizer import DOCUMENT_END
from tests.fakes import LongestFirst


def small_model(cell, num_layers=1, *, embedding_size=3, hidden_size=5, seed=0):
    arch = Architecture(cell, 257, embedding_size, hidden_size, num_layers)
    generator = np.random.default_rng(seed)
    weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
    return LoadedModel(Path("small"), Manifest(arch, {}, {}, {}, {}, "0"), weights, LongestFirst(), "")


def sigma(x):
    return 1 / (1 + np.exp(-x))


def reference(cell, weights, x, h, memory):
    """Gates, h' and cell' of layer 0, as the table of cells in the documentation has them; float64."""
    names = {"rnn": "c", "rnn-relu": "c", "gru-simple": "uc", "gru": "urc", "gru-reset-after": "urc", "lstm": "ifog"}[
        cell
    ]
    rows = lambda name, key: np.split(weights[f"cells.0.{key}"], len(names))[names.index(name)]  # noqa: E731
    a = lambda name, hidden: rows(name, "weight_h") @ hidden + rows(name, "weight_x") @ x + rows(name, "bias")  # noqa: E731
    if cell in ("rnn", "rnn-relu"):
        return [], np.tanh(a("c", h)) if cell == "rnn" else np.maximum(a("c", h), 0), memory
    if cell == "lstm":
        i, f, o, g = sigma(a("i", h)), sigma(a("f", h)), sigma(a("o", h)), np.tanh(a("g", h))
        return [i, f, o], o * np.tanh(f * memory + i * g), f * memory + i * g
    u, r = sigma(a("u", h)), sigma(a("r", h)) if "r" in names else 1
    c = np.tanh(a("c", r * h))
    if cell == "gru-reset-after":
        entering = rows("c", "weight_x") @ x + rows("c", "bias")
        c = np.tanh(entering + r * (rows("c", "weight_h") @ h + weights["cells.0.bias_hidden"]))
    return [u, r][: len(names) - 1], u * c + (1 - u) * h, memory


@pytest.mark.parametrize("cell", CELLS)
def test_gates_match_the_equations(cell):
    model = small_model(cell)
    text = b"two units"
    read = trace_text(model, text, dtype=np.float64)
    h, memory = np.zeros(5), np.zeros(5)
    for position, token in enumerate([DOCUMENT_END, *(1 + value for value in text)]):
        x = model.weights["embedding"][token]
        found, h, memory = reference(cell, model.weights, x, h, memory)
        np.testing.assert_allclose(read.states[position, 0, 0], h, atol=1e-12)
        if position:
            np.testing.assert_allclose(read.gates[position - 1, 0], np.reshape(found, (-1, 5)), atol=1e-12)
    assert read.gates.shape == (len(text), 1, len(read.gate_names), 5)


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_states_and_surprisal_match_the_runtime(cell, num_layers):
    model = small_model(cell, num_layers, hidden_size=4, embedding_size=6)
    read = trace_text(model, b"abc", dtype=np.float64)
    stepper = Stepper(model.manifest.arch, model.weights, np.float64)
    hidden, state = stepper.step(DOCUMENT_END, stepper.initial_state())
    np.testing.assert_allclose(read.states[0], state, atol=1e-12)
    for position, token in enumerate([98, 99, 100]):
        logits = stepper.logits(hidden)
        nats = np.log(np.exp(logits).sum()) - logits[token]
        assert read.bits[position] == pytest.approx(nats / math.log(2))
        hidden, state = stepper.step(token, state)
        np.testing.assert_allclose(read.states[position + 1], state, atol=1e-12)


def test_texts_read_in_parallel_are_read_as_if_alone():
    model = small_model("gru", 2)
    texts = [b"a", b"abcd", b"xy", b"abcf"]
    seen = {}

    def see(position, rows, step):
        for row, layer_gates in zip(rows, step.gates, strict=True):
            seen[int(row), position] = layer_gates

    read_in_parallel(TracedNetwork(model, np.float64), [model.tokenizer.encode(text) for text in texts], see)
    assert sorted(seen) == [(row, position) for row, text in enumerate(texts) for position in range(len(text))]
    for row, text in enumerate(texts):
        alone = trace_text(model, text, dtype=np.float64)
        for position in range(len(text)):
            np.testing.assert_allclose(seen[row, position], alone.gates[position], atol=1e-12)


def trace_of(update, state=None, cell="gru-simple"):
    """A trace of one layer, from update gates ``(T, H)`` and states ``(T + 1, H)``."""
    update = np.array(update, dtype=float)
    states = np.zeros((len(update) + 1, update.shape[1])) if state is None else np.array(state, dtype=float)
    pieces = [b"x"] * len(update)
    return Trace(cell, pieces, np.ones(len(update)), update[:, None, None], states[:, None, None])


def test_half_of_a_state_is_left_after_its_half_life():
    lives = trace_of([[0.5, 0.0, 1 - 0.5**0.1], [0.5, 0.0, 1 - 0.5**0.3]]).half_lives()
    np.testing.assert_allclose(lives[0], [1.0, math.inf, 5.0])


def test_half_lives_of_an_lstm_come_from_the_forget_gate():
    values = np.array([[[[0.9], [0.25], [0.9]]]])  # one token, one layer, three gates, one unit
    read = Trace("lstm", [b"x"], np.ones(1), values, np.zeros((2, 1, 2, 1)))
    assert read.half_lives() == pytest.approx(0.5)


def test_closed_and_open_values_are_counted_by_layer_and_gate():
    read = trace_of([[0.05, 0.5], [0.95, 0.09]])
    (row,) = read.saturation()
    assert (row.layer, row.gate, row.below, row.above, row.num_values) == (0, "update", 0.5, 0.25, 4)
    assert row.mean == pytest.approx(0.3975)


def test_the_units_that_changed_most_come_first_with_their_direction():
    read = trace_of(np.zeros((2, 3)), [[0, 0, 0], [0.1, -0.9, 0.5], [0.1, -0.9, -0.4]])
    assert [(s.unit, pytest.approx(s.change)) for s in read.largest_changes(0, 2)] == [(1, -0.9), (2, 0.5)]
    assert read.largest_changes(1, 1) == [(0, 2, pytest.approx(-0.9))]


def test_the_units_that_vary_most_come_first():
    assert trace_of([[0.5, 0.1, 0.3], [0.5, 0.9, 0.4]]).most_varied(0, 2) == [1, 2]


def test_a_cell_without_gates_shows_its_state_and_claims_nothing():
    read = trace_text(small_model("rnn"), b"abc")
    assert read.gate_names == ()
    assert read.half_lives() is None
    assert read.saturation() == []
    np.testing.assert_allclose(read.panels(0)["state"], (read.states[1:, 0, 0] + 1) / 2)


def test_an_unbounded_state_is_drawn_relative_to_its_largest_value():
    read = trace_text(small_model("rnn-relu"), b"abc")
    states = read.states[1:, 0, 0]
    assert states.max() > 0
    np.testing.assert_allclose(read.panels(0)["state"], states / states.max())


def test_an_empty_and_a_too_long_text_are_refused(monkeypatch):
    model = small_model("gru")
    with pytest.raises(CorpusError, match="no text"):
        trace_text(model, b"")
    monkeypatch.setattr("gru_complete.inspection.trace.MAX_TOKENS", 3)
    with pytest.raises(CorpusError, match="4 tokens; at most 3"):
        trace_text(model, b"abcd")


@pytest.mark.parametrize(
    ("piece", "shown"),
    [(b" cat", "␣cat"), (b"\n", "\\n"), (b"\xe2", "\\xe2"), ("日本".encode(), "日本"), (b"\x1b[2J", "\\x1b[2J")],
)
def test_a_token_is_shown_with_its_spaces_and_without_control_characters(piece, shown):
    assert printable_piece(piece) == shown
