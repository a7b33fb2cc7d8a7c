"""One step of the model in numpy: a token and a state in, the next state and scores out; or many of both at once.

The equations are those of ``nn/cells.py``, without gradients. Shapes: E embedding_size, H hidden_size, G gates of the
cell, L num_layers, N rows of a batch, S state rows (2 for ``lstm``, else 1), V vocab_size.

A step is bound by reading the weights from memory, so it reads as few as it can: what the embedding of a token adds to
the first layer's gates never changes and is computed once per token, and many rows read the weights only once. Inside,
a batch stands in columns, ``(H, N)``: the cells need no second version for it, and it is how OpenBLAS multiplies a few
rows by C-ordered weights quickest (eight rows take twice as long side by side).

What is not products is calls of numpy, a microsecond or two each after the weights have swept the caches. So there are
few, in their quickest spelling: methods, operators in place, and constants that are arrays already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gru_complete.model_dir import STATE_ROWS, Architecture

FloatArray = npt.NDArray[np.floating[Any]]


_HALF = np.array(0.5, np.float32)  # an array, since numpy is slow to convert a number


class Layer(NamedTuple):
    """The weights of one cell, gates stacked by rows in the order of the cells' equations.

    The rows of the gates, all but the candidate's at the end, are halved: sigma(x) = tanh(x / 2) / 2 + 1 / 2.
    """

    weight_x: FloatArray  # (G * H, I)
    weight_gates: FloatArray  # the gates' part of weight_h, ((G - 1) * H, H)
    weight_candidate: FloatArray  # the candidate's, (H, H)
    bias: FloatArray  # (G * H,)
    bias_hidden: FloatArray | None  # (H,), only gru-reset-after


class Stepper:
    """Runs the language model token by token, for one text or for many side by side.

    State is a value: a step leaves the state it is given as it was, so one state can be continued in several ways.

    Args:
        arch: cell and sizes.
        weights: the model's arrays, named and shaped as ``arch.tensor_shapes()`` says.
        dtype: the type to compute in, float32 or (to compare with a reference) float64.
    """

    def __init__(
        self, arch: Architecture, weights: Mapping[str, npt.NDArray[Any]], dtype: npt.DTypeLike = np.float32
    ) -> None:
        arrays = {name: np.ascontiguousarray(array, dtype=dtype) for name, array in weights.items()}
        self.embedding = arrays["embedding"]
        self.output_bias = arrays["output_bias"]
        self.projection = arrays.get("projection")
        self.layers = [_layer(arrays, f"cells.{index}.") for index in range(arch.num_layers)]
        self._column_layers = [_for_columns(layer) for layer in self.layers]
        self.cell = CELLS[arch.cell]
        self.state_shape = (arch.num_layers, STATE_ROWS[arch.cell], arch.hidden_size)
        self._input_products: dict[int, FloatArray] = {}

    def initial_state(self) -> FloatArray:
        """Return the state before a document: zeros, ``(L, S, H)``."""
        return np.zeros(self.state_shape, dtype=self.embedding.dtype)

    def step(self, token: int, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Read one token.

        Args:
            token: its id.
            state: where the text before it ended, ``(L, S, H)``; not changed.

        Returns:
            What ``logits`` needs, ``(E,)``, and the state after the token, ``(L, S, H)``.
        """
        hidden, state = self._advance(self._first_inputs(token), state, self.layers)
        return self._project(hidden), state

    def step_many(self, tokens: Sequence[int], states: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Read one token in each of N texts; the same as N steps but for rounding.

        Args:
            tokens: their ids, ``(N,)``, at least one.
            states: where each text before it ended, ``(N, L, S, H)``; not changed.

        Returns:
            What ``logits`` needs, ``(N, E)``, and the states after the tokens, ``(N, L, S, H)``.
        """
        rows = np.concatenate([self._first_inputs(token) for token in tokens])  # quicker than stack
        inputs = np.ascontiguousarray(rows.reshape(len(tokens), -1).T)
        columns = np.ascontiguousarray(np.moveaxis(states, 0, -1))
        hidden, columns = self._advance(inputs, columns, self._column_layers)
        return np.ascontiguousarray(self._project(hidden).T), np.ascontiguousarray(np.moveaxis(columns, -1, 0))

    def read(self, tokens: Iterable[int], state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Read tokens one after another; what ``step`` returns for the last of them.

        Raises:
            ValueError: there are no tokens.
        """
        hidden = None
        for token in tokens:
            hidden, state = self._advance(self._first_inputs(token), state, self.layers)
        if hidden is None:
            raise ValueError("there are no tokens to read")
        return self._project(hidden), state

    def logits(self, hidden: FloatArray) -> FloatArray:
        """Score what may follow: unnormalised log probabilities, ``(V,)`` for ``(E,)``, ``(N, V)`` for ``(N, E)``."""
        scores: FloatArray = self.embedding.dot(hidden.T)
        if hidden.ndim == 2:
            scores = np.ascontiguousarray(scores.T)
        scores += self.output_bias
        return scores

    def _advance(self, inputs: FloatArray, state: FloatArray, layers: Sequence[Layer]) -> tuple[FloatArray, FloatArray]:
        """Return the last layer's output before the projection, ``(H,)``, and the new state.

        A batch comes and goes in columns: ``inputs`` ``(G * H, N)``, ``state`` ``(L, S, H, N)``.
        """
        next_state = np.empty(state.shape, state.dtype)  # quicker than empty_like
        self.cell(inputs, layers[0], state[0], next_state[0])
        hidden: FloatArray = next_state[0, 0]
        for index, layer in enumerate(layers[1:], start=1):
            inputs = layer.weight_x.dot(hidden)
            inputs += layer.bias
            self.cell(inputs, layer, state[index], next_state[index])
            hidden = hidden + next_state[index, 0]
        return hidden, next_state

    def _first_inputs(self, token: int) -> FloatArray:
        """Return W_x x + b of the first layer, ``(G * H,)``, computed when a token is first met."""
        inputs = self._input_products.get(token)
        if inputs is None:
            layer = self.layers[0]
            inputs = self._input_products[token] = layer.weight_x.dot(self.embedding[token]) + layer.bias
        return inputs

    def _project(self, hidden: FloatArray) -> FloatArray:
        return hidden if self.projection is None else self.projection.dot(hidden)


def _layer(arrays: Mapping[str, FloatArray], prefix: str) -> Layer:
    weight_x, weight_h, bias = (arrays[prefix + name].copy() for name in ("weight_x", "weight_h", "bias"))
    gate_rows = len(weight_h) - weight_h.shape[1]
    for array in (weight_x, weight_h, bias):
        array[:gate_rows] *= _HALF
    return Layer(weight_x, weight_h[:gate_rows], weight_h[gate_rows:], bias, arrays.get(prefix + "bias_hidden"))


def _for_columns(layer: Layer) -> Layer:
    """The same weights, with biases that are added to every column."""
    bias_hidden = None if layer.bias_hidden is None else layer.bias_hidden[:, None]
    return layer._replace(bias=layer.bias[:, None], bias_hidden=bias_hidden)


# The cells. Each takes the input products W_x x + b (G * H,), the layer, the state (S, H), and fills the next state;
# all but the layer may have columns. What is halved in these products is halved in the layer.


def _rnn(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' = tanh(W [h, x] + b)."""
    products = layer.weight_candidate.dot(state[0])
    products += inputs
    np.tanh(products, next_state[0])


def _gru_simple(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' where u = sigma(...); c = tanh(W_c [h, x] + b_c); h' = u * c + (1 - u) * h."""
    hidden = state[0]
    size = len(hidden)
    update = _gates(layer, hidden, inputs)
    candidate = layer.weight_candidate.dot(hidden)
    candidate += inputs[size:]
    _interpolate(hidden, update, candidate, next_state[0])


def _gru(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' where u, r = sigma(...); c = tanh(W_c [r * h, x] + b_c); h' = u * c + (1 - u) * h."""
    hidden = state[0]
    size = len(hidden)
    gates = _gates(layer, hidden, inputs)
    reset = gates[size:]
    reset *= hidden
    candidate = layer.weight_candidate.dot(reset)
    candidate += inputs[2 * size :]
    _interpolate(hidden, gates[:size], candidate, next_state[0])


def _gru_reset_after(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' as ``gru``, but with c = tanh(W_cx x + b_cx + r * (W_ch h + b_ch))."""
    hidden = state[0]
    size = len(hidden)
    gates = _gates(layer, hidden, inputs)
    candidate = layer.weight_candidate.dot(hidden)
    candidate += layer.bias_hidden
    candidate *= gates[size:]
    candidate += inputs[2 * size :]
    _interpolate(hidden, gates[:size], candidate, next_state[0])


def _lstm(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' and cell' where i, f, o = sigma(...); g = tanh(...); cell' = f * cell + i * g; h' = o * tanh(cell')."""
    hidden, memory = state
    size = len(hidden)
    gates = _gates(layer, hidden, inputs)
    enter, forget, output = gates[:size], gates[size : 2 * size], gates[2 * size :]
    candidate = layer.weight_candidate.dot(hidden)
    candidate += inputs[3 * size :]
    np.tanh(candidate, candidate)
    candidate *= enter
    forget *= memory
    np.add(forget, candidate, next_state[1])
    np.tanh(next_state[1], candidate)
    np.multiply(output, candidate, next_state[0])


CELLS: dict[str, Callable[[FloatArray, Layer, FloatArray, FloatArray], None]] = {
    "rnn": _rnn,
    "gru-simple": _gru_simple,
    "gru": _gru,
    "gru-reset-after": _gru_reset_after,
    "lstm": _lstm,
}


def _gates(layer: Layer, hidden: FloatArray, inputs: FloatArray) -> FloatArray:
    """The gates ``((G - 1) * H,)``: the logistic function by tanh, which cannot overflow as exp can."""
    gates: FloatArray = layer.weight_gates.dot(hidden)
    gates += inputs[: len(gates)]
    np.tanh(gates, gates)
    gates *= _HALF
    gates += _HALF
    return gates


def _interpolate(hidden: FloatArray, update: FloatArray, candidate: FloatArray, next_hidden: FloatArray) -> None:
    """Fill u * c + (1 - u) * h as h + u * (c - h), where c is the tanh of ``candidate`` (overwritten)."""
    np.tanh(candidate, candidate)
    candidate -= hidden
    candidate *= update
    np.add(hidden, candidate, next_hidden)
