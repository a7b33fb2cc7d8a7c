"""One step of the network in numpy: a token and a state in, the next state and scores out; or many of both at once.

The equations are those of ``nn/cells.py``, without gradients. A step is bound by reading the weights from memory, so it
reads as few as possible: what the embedding of a token adds to the first layer's gates never changes and is computed
once per token, and many rows read the weights only once. Weights are stored as ``(inputs, outputs)``, the transpose of
those in the model directory: with one row OpenBLAS takes a third less time that way, and with many rows, which are no
slower, states and scores need not be transposed.

Everything else is calls of numpy, a microsecond or two each once the weights have displaced everything from the caches.
So there are few, in their fastest spelling: methods, operators in place, and constants that are arrays already.

Shapes: B rows side by side, V vocab_size, E embedding_size, H hidden_size, L num_layers, S state_rows (2 for ``lstm``,
else 1), G gates of the cell, I inputs of the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.model.architecture import STATE_ROWS, Architecture

if TYPE_CHECKING:
    import numpy.typing as npt

_HALF = np.array(0.5, np.float32)  # an array, since numpy is slow to convert a number
_ZERO = np.array(0.0, np.float32)
_COPIED_ROWS = 16


class Layer(NamedTuple):
    """The weights of one cell, with the gates as blocks of columns in the order of the cell's equations.

    The gates' columns, all but the candidate's at the end, are halved: sigma(x) = tanh(x / 2) / 2 + 1 / 2.
    """

    weight_x: FloatArray  # (I, G * H)
    weight_gates: FloatArray  # the gates' part of weight_h, (H, (G - 1) * H)
    weight_candidate: FloatArray  # the candidate's, (H, H)
    bias: FloatArray  # (G * H,)
    bias_hidden: FloatArray | None  # (H,), only gru-reset-after


class Stepper:
    """Runs the network token by token, for one text or for many side by side.

    State is a value: a step does not change the state it receives, so one state can be continued in several ways.

    Args:
        arch: cell and sizes.
        weights: the model's arrays, named and shaped as ``arch.tensor_shapes()`` says.
        dtype: the type to compute in, float32 or (to compare with a reference) float64.
    """

    def __init__(
        self, arch: Architecture, weights: Mapping[str, npt.NDArray[Any]], dtype: npt.DTypeLike = np.float32
    ) -> None:
        arrays = {name: np.ascontiguousarray(array, dtype=dtype) for name, array in weights.items()}
        transposed = _Transposer(sum(array.size for array in arrays.values()), dtype)
        self.embedding = arrays["embedding"]
        self.output_bias = arrays["output_bias"]
        self.output = transposed(self.embedding)  # (E, V)
        self.projection = transposed(arrays["projection"]) if "projection" in arrays else None  # (H, E)
        self.layers = [_layer(arrays, f"cells.{index}.", transposed) for index in range(arch.num_layers)]
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
            The output, from which ``logits`` scores what follows, ``(E,)``, and the new state, ``(L, S, H)``.
        """
        hidden, state = self._advance(self._first_inputs(token), state)
        return self._project(hidden), state

    def step_many(self, tokens: Sequence[int], states: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Read one token in each of B texts: the same as B steps, except for rounding.

        Args:
            tokens: B ids, at least one.
            states: where each text before it ended, ``(B, L, S, H)``; not changed.

        Returns:
            The outputs, ``(B, E)``, and the new states, ``(B, L, S, H)``.
        """
        inputs = np.concatenate([self._first_inputs(token) for token in tokens])  # faster than stack
        hidden, states = self._advance(inputs.reshape(len(tokens), -1), states.transpose(1, 2, 0, 3))
        return self._project(hidden), states.transpose(2, 0, 1, 3)

    def read(self, tokens: Iterable[int], state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Read tokens one after another; return what ``step`` returns for the last of them.

        Raises:
            ValueError: there are no tokens.
        """
        hidden = None
        for token in tokens:
            hidden, state = self._advance(self._first_inputs(token), state)
        if hidden is None:
            raise ValueError("there are no tokens to read")
        return self._project(hidden), state

    def logits(self, hidden: FloatArray) -> FloatArray:
        """Score what may follow: unnormalised log probabilities, ``(V,)`` for ``(E,)``, ``(B, V)`` for ``(B, E)``."""
        scores: FloatArray = hidden.dot(self.output)
        scores += self.output_bias
        return scores

    def _advance(self, inputs: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the last layer's output before the projection, ``(H,)``, and the new state.

        With B rows, ``inputs`` is ``(B, G * H)`` and ``state`` ``(L, S, B, H)``.
        """
        next_state = np.empty(state.shape, state.dtype)  # faster than empty_like
        self.cell(inputs, self.layers[0], state[0], next_state[0])
        hidden: FloatArray = next_state[0, 0]
        for index, layer in enumerate(self.layers[1:], start=1):
            inputs = hidden.dot(layer.weight_x)
            inputs += layer.bias
            self.cell(inputs, layer, state[index], next_state[index])
            hidden = hidden + next_state[index, 0]
        return hidden, next_state

    def _first_inputs(self, token: int) -> FloatArray:
        """Return W_x x + b of the first layer, ``(G * H,)``, computed when a token is first read."""
        inputs = self._input_products.get(token)
        if inputs is None:
            layer = self.layers[0]
            inputs = self._input_products[token] = self.embedding[token].dot(layer.weight_x) + layer.bias
        return inputs

    def _project(self, hidden: FloatArray) -> FloatArray:
        return hidden if self.projection is None else hidden.dot(self.projection)


class _Transposer:
    """Turns weight matrices into ``(inputs, outputs)``, contiguous in memory.

    A few rows at a time stay in the cache while they become columns: a third of the time of one large copy. All results
    lie in one large array, which the system gives in large pages.

    Args:
        size: of all matrices together, in numbers.
        dtype: of the numbers.
    """

    def __init__(self, size: int, dtype: npt.DTypeLike) -> None:
        self._free: FloatArray = np.empty(size, dtype)

    def __call__(self, weight: FloatArray, *, num_halved: int = 0) -> FloatArray:
        """Transpose a matrix ``(outputs, inputs)``; its first ``num_halved`` outputs are halved."""
        num_rows, num_columns = weight.shape
        transposed = self._free[: weight.size].reshape(num_columns, num_rows)
        self._free = self._free[weight.size :]
        for start in range(0, num_rows, _COPIED_ROWS):
            block = weight[start : start + _COPIED_ROWS]
            if start < num_halved:
                block = block.copy()
                block[: num_halved - start] *= _HALF
            transposed[:, start : start + _COPIED_ROWS] = block.T
        return transposed


def _layer(arrays: Mapping[str, FloatArray], prefix: str, transposed: _Transposer) -> Layer:
    """Lay out the weights of a cell as ``Layer`` says."""
    weight_h, bias = arrays[prefix + "weight_h"], arrays[prefix + "bias"].copy()
    num_gated = len(weight_h) - weight_h.shape[1]
    bias[:num_gated] *= _HALF
    return Layer(
        weight_x=transposed(arrays[prefix + "weight_x"], num_halved=num_gated),
        weight_gates=transposed(weight_h[:num_gated], num_halved=num_gated),
        weight_candidate=transposed(weight_h[num_gated:]),
        bias=bias,
        bias_hidden=arrays.get(prefix + "bias_hidden"),
    )


# The cells. Each takes the input products W_x x + b (G * H,), the layer and the state (S, H), and fills the next state;
# with B rows these are (B, G * H) and (S, B, H). The gates' part of the products is halved, as it is in the layer.


def _rnn(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' = tanh(W [h, x] + b)."""
    products = state[0].dot(layer.weight_candidate)
    products += inputs
    np.tanh(products, next_state[0])


def _rnn_relu(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' = relu(W [h, x] + b)."""
    products = state[0].dot(layer.weight_candidate)
    products += inputs
    np.maximum(products, _ZERO, out=next_state[0])


def _gru_simple(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' where u = sigma(...); c = tanh(W_c [h, x] + b_c); h' = u * c + (1 - u) * h."""
    hidden = state[0]
    size = hidden.shape[-1]
    update = _gates(layer, hidden, inputs)
    candidate = hidden.dot(layer.weight_candidate)
    candidate += inputs[..., size:]
    _interpolate(hidden, update, candidate, next_state[0])


def _gru(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' where u, r = sigma(...); c = tanh(W_c [r * h, x] + b_c); h' = u * c + (1 - u) * h."""
    hidden = state[0]
    size = hidden.shape[-1]
    gates = _gates(layer, hidden, inputs)
    reset = gates[..., size:]
    reset *= hidden
    candidate = reset.dot(layer.weight_candidate)
    candidate += inputs[..., 2 * size :]
    _interpolate(hidden, gates[..., :size], candidate, next_state[0])


def _gru_reset_after(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' as ``gru``, but with c = tanh(W_cx x + b_cx + r * (W_ch h + b_ch))."""
    hidden = state[0]
    size = hidden.shape[-1]
    gates = _gates(layer, hidden, inputs)
    candidate = hidden.dot(layer.weight_candidate)
    candidate += layer.bias_hidden
    candidate *= gates[..., size:]
    candidate += inputs[..., 2 * size :]
    _interpolate(hidden, gates[..., :size], candidate, next_state[0])


def _lstm(inputs: FloatArray, layer: Layer, state: FloatArray, next_state: FloatArray) -> None:
    """Fill h' and cell' where i, f, o = sigma(...); g = tanh(...); cell' = f * cell + i * g; h' = o * tanh(cell')."""
    hidden, memory = state
    size = hidden.shape[-1]
    gates = _gates(layer, hidden, inputs)
    enter, forget, output = gates[..., :size], gates[..., size : 2 * size], gates[..., 2 * size :]
    candidate = hidden.dot(layer.weight_candidate)
    candidate += inputs[..., 3 * size :]
    np.tanh(candidate, candidate)
    candidate *= enter
    forget *= memory
    np.add(forget, candidate, next_state[1])
    np.tanh(next_state[1], candidate)
    np.multiply(output, candidate, next_state[0])


CELLS: dict[str, Callable[[FloatArray, Layer, FloatArray, FloatArray], None]] = {
    "rnn": _rnn,
    "rnn-relu": _rnn_relu,
    "gru-simple": _gru_simple,
    "gru": _gru,
    "gru-reset-after": _gru_reset_after,
    "lstm": _lstm,
}


def _gates(layer: Layer, hidden: FloatArray, inputs: FloatArray) -> FloatArray:
    """The gates ``((G - 1) * H,)``: the logistic function by tanh, which cannot overflow as exp can."""
    gates: FloatArray = hidden.dot(layer.weight_gates)
    gates += inputs[..., : gates.shape[-1]]
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
