"""What the cells of a network did with a text: gates, states and surprisal, token by token.

Only the network is looked at: the counts beside it have no gates, and the surprisal is what the network alone pays.

The equations are those of ``nn/cells.py``, written once more in numpy because neither the training's loops nor the
runtime's steps give their gates away. Shapes: E embedding_size, G gates, H hidden_size, L num_layers, N texts read side
by side, S state_rows (2 for ``lstm``, else 1), T tokens, V vocab_size.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gru_complete.arrays import FloatArray
from gru_complete.errors import CorpusError
from gru_complete.model.architecture import STATE_ROWS
from gru_complete.model.directory import LoadedModel
from gru_complete.text.tokenizer import DOCUMENT_END

GATE_NAMES: dict[str, tuple[str, ...]] = {
    "rnn": (),
    "rnn-relu": (),
    "gru-simple": ("update",),
    "gru": ("update", "reset"),
    "gru-reset-after": ("update", "reset"),
    "lstm": ("input", "forget", "output"),
}
"""The gates of each cell, in the order of its rows; the candidate and the whole of a simple RNN are no gates."""

CLOSED, OPEN = 0.1, 0.9
"""A gate below the one is called closed, above the other open."""

MAX_TOKENS = 2_000
_SCORED_AT_ONCE = 64
_MIN_KEPT = 1e-12


class TracedStep(NamedTuple):
    """What reading one token did in each of N texts.

    Attributes:
        gates: between 0 and 1, ``(N, L, G, H)``.
        state: after the token, ``(N, L, S, H)``.
        output: of the last layer, with what passes by it, ``(N, H)``.
    """

    gates: FloatArray
    state: FloatArray
    output: FloatArray


class TracedNetwork:
    """A model's cells, with their gates open to view.

    Args:
        model: the model; of an adapted one, the weights as they are after adapting.
        dtype: the type to compute in.
    """

    def __init__(self, model: LoadedModel, dtype: npt.DTypeLike = np.float32) -> None:
        self.arch = model.manifest.arch
        self.weights: dict[str, FloatArray] = {name: array.astype(dtype) for name, array in model.weights.items()}
        self.embedding = self.weights["embedding"]

    @property
    def gate_names(self) -> tuple[str, ...]:
        """What the gates of the cell are called."""
        return GATE_NAMES[self.arch.cell]

    def initial_state(self, num_texts: int) -> FloatArray:
        """The state before a document, ``(N, L, S, H)``."""
        arch = self.arch
        shape = (num_texts, arch.num_layers, STATE_ROWS[arch.cell], arch.hidden_size)
        return np.zeros(shape, self.embedding.dtype)

    def step(self, tokens: Sequence[int] | npt.NDArray[np.integer[Any]], state: FloatArray) -> TracedStep:
        """Read one token in each of N texts.

        Args:
            tokens: their ids, ``(N,)``.
            state: where each text before it ended, ``(N, L, S, H)``; not changed.
        """
        gates, states = [], []
        x = self.embedding[tokens]
        for layer in range(self.arch.num_layers):
            layer_gates, layer_state = self._cell(layer, x, state[:, layer])
            gates.append(layer_gates)
            states.append(layer_state)
            x = layer_state[:, 0] if layer == 0 else x + layer_state[:, 0]
        return TracedStep(np.stack(gates, axis=1), np.stack(states, axis=1), x)

    def _cell(self, layer: int, x: FloatArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The gates ``(N, G, H)`` and the next state ``(N, S, H)`` of a layer."""
        cell, size = self.arch.cell, self.arch.hidden_size
        num_gates = len(GATE_NAMES[cell])
        hidden = state[:, 0]
        weight_h = self.weights[f"cells.{layer}.weight_h"]
        products = x @ self.weights[f"cells.{layer}.weight_x"].T + self.weights[f"cells.{layer}.bias"]
        sums = products[:, : num_gates * size] + hidden @ weight_h[: num_gates * size].T
        gates: FloatArray = (0.5 + 0.5 * np.tanh(0.5 * sums)).reshape(len(x), num_gates, size)
        entering, candidate_weight = products[:, num_gates * size :], weight_h[num_gates * size :]
        if cell == "gru":
            candidate = np.tanh(entering + (gates[:, 1] * hidden) @ candidate_weight.T)
        elif cell == "gru-reset-after":
            recurrent = hidden @ candidate_weight.T + self.weights[f"cells.{layer}.bias_hidden"]
            candidate = np.tanh(entering + gates[:, 1] * recurrent)
        else:
            sums = entering + hidden @ candidate_weight.T
            candidate = np.maximum(sums, 0) if cell == "rnn-relu" else np.tanh(sums)
        if cell in ("rnn", "rnn-relu"):
            return gates, candidate[:, None]
        if cell == "lstm":
            memory = gates[:, 1] * state[:, 1] + gates[:, 0] * candidate
            return gates, np.stack([gates[:, 2] * np.tanh(memory), memory], axis=1)
        return gates, (gates[:, 0] * candidate + (1 - gates[:, 0]) * hidden)[:, None]

    def log_probabilities(self, outputs: FloatArray) -> FloatArray:
        """What may follow, by the network alone: natural logarithms ``(N, V)`` for outputs ``(N, H)``."""
        hidden = outputs @ self.weights["projection"].T if "projection" in self.weights else outputs
        scores: FloatArray = hidden @ self.embedding.T + self.weights["output_bias"]
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return scores


def read_in_parallel(
    network: TracedNetwork, texts: Sequence[Sequence[int]], see: Callable[[int, npt.NDArray[np.intp], TracedStep], None]
) -> None:
    """Read many texts from the starts of their documents, and show what each token did.

    Args:
        network: the model's cells.
        texts: token ids without document ends; none may be empty.
        see: is told a position, which texts have a token there ``(N,)``, and what the step did in them.
    """
    order = np.argsort([-len(text) for text in texts], kind="stable")
    lengths = np.array([len(texts[index]) for index in order])
    state = network.initial_state(len(texts))
    state = network.step([DOCUMENT_END] * len(texts), state).state
    for position in range(int(lengths.max(initial=0))):
        active = int(np.searchsorted(-lengths, -position))  # those longer than the position come first
        rows = order[:active]
        step = network.step([texts[index][position] for index in rows], state[:active])
        see(position, rows, step)
        state = step.state


class StateChange(NamedTuple):
    """A unit whose state a token changed much: by ``change``, from -2 to 2 (of an ``lstm``, its h)."""

    layer: int
    unit: int
    change: float


class Saturation(NamedTuple):
    """How the values of a layer's gate lie: their mean, and the shares that are closed and open."""

    layer: int
    gate: str
    mean: float
    below: float
    above: float
    num_values: int


class Trace:
    """A text as the network read it, from the start of a document.

    Attributes:
        cell: the kind of cell.
        pieces: the bytes of each token, ``T`` of them.
        bits: what each token cost the network, ``(T,)``.
        gates: of each token, ``(T, L, G, H)``.
        states: after each token, and before the first one, ``(T + 1, L, S, H)``.
    """

    def __init__(
        self, cell: str, pieces: Sequence[bytes], bits: FloatArray, gates: FloatArray, states: FloatArray
    ) -> None:
        self.cell = cell
        self.pieces = tuple(pieces)
        self.bits = bits
        self.gates = gates
        self.states = states

    @property
    def gate_names(self) -> tuple[str, ...]:
        """What the gates of the cell are called."""
        return GATE_NAMES[self.cell]

    @property
    def num_layers(self) -> int:
        """L."""
        return int(self.gates.shape[1])

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.gates.shape[3])

    def panels(self, layer: int) -> dict[str, FloatArray]:
        """What there is to draw of a layer, each ``(T, H)``, from 0 to 1: its gates.

        Of an ``rnn`` (h + 1) / 2; of an ``rnn-relu``, whose state has no bound, h beside its largest value here.
        """
        if not self.gate_names:
            states = self.states[1:, layer, 0]
            if self.cell == "rnn-relu":
                return {"state": states / max(float(states.max()), _MIN_KEPT)}
            return {"state": (states + 1) / 2}
        return {name: self.gates[:, layer, index] for index, name in enumerate(self.gate_names)}

    @cached_property
    def changes(self) -> FloatArray:
        """What each token changed in h, ``(T, L, H)``."""
        difference: FloatArray = np.diff(self.states[:, :, 0], axis=0)
        return difference

    def largest_changes(self, position: int, number: int, *, layer: int | None = None) -> list[StateChange]:
        """The units that a token changed most, the largest change first."""
        changes = self.changes[position]
        layers = range(self.num_layers) if layer is None else [layer]
        found = [
            StateChange(index, int(unit), float(changes[index, unit]))
            for index in layers
            for unit in _top(changes[index], number)
        ]
        return sorted(found, key=lambda switch: -abs(switch.change))[:number]

    def most_varied(self, layer: int, number: int) -> list[int]:
        """The units whose update gate (``lstm``: forget gate; simple RNN: state) varies most over the text."""
        panels = self.panels(layer)
        values = panels["forget"] if "forget" in panels else next(iter(panels.values()))
        return [int(unit) for unit in _top(values.std(axis=0), number)]

    def saturation(self) -> list[Saturation]:
        """How many values of each layer's gates are closed and open; none for a simple RNN."""
        return [
            Saturation(
                layer,
                name,
                float(values.mean()),
                float((values < CLOSED).mean()),
                float((values > OPEN).mean()),
                values.size,
            )
            for layer in range(self.num_layers)
            for name, values in (self.panels(layer).items() if self.gate_names else ())
        ]

    def half_lives(self) -> FloatArray | None:
        r"""After how many tokens like these half of a unit's state is left, ``(L, H)``; None for a simple RNN.

        One token keeps the share k_t of the state: 1 - u_t of a GRU's h, f_t of an LSTM's cell. Over n tokens the
        shares multiply, so with the mean logarithm over the text's tokens

            n_half = ln(1/2) / mean_t(ln k_t).

        This counts what is kept in the unit itself, not what comes back into it through other units. A unit that keeps
        all for ever has infinity.
        """
        if not self.gate_names:
            return None
        kept = self.gates[:, :, 1] if self.cell == "lstm" else 1 - self.gates[:, :, 0]
        mean = np.log(np.maximum(kept.astype(np.float64), _MIN_KEPT)).mean(axis=0)
        with np.errstate(divide="ignore"):
            lives: FloatArray = math.log(0.5) / np.minimum(mean, -0.0)
        return lives


def _top(values: FloatArray, number: int) -> npt.NDArray[np.intp]:
    """The places of the largest values by size, the largest first; of equal ones the first."""
    return np.argsort(-np.abs(values), kind="stable")[:number]


def trace_text(model: LoadedModel, text: bytes, *, dtype: npt.DTypeLike = np.float32) -> Trace:
    """Read a text and keep everything that the cells did.

    Raises:
        CorpusError: there is no text, or more than ``MAX_TOKENS`` tokens of it.
    """
    tokens = model.tokenizer.encode(text)
    if not tokens:
        raise CorpusError("there is no text to look into")
    if len(tokens) > MAX_TOKENS:
        message = f"the text has {len(tokens):,} tokens; at most {MAX_TOKENS:,} can be looked at together"
        raise CorpusError(message, hint="give a part of it, as in: head -c 2000 FILE | gru-complete inspect -")
    network = TracedNetwork(model, dtype)
    start = network.step([DOCUMENT_END], network.initial_state(1))
    steps = [start]
    for token in tokens:
        steps.append(network.step([token], steps[-1].state))
    outputs = np.concatenate([step.output for step in steps[:-1]])
    bits = np.concatenate(list(_bits(network, outputs, np.array(tokens))))
    return Trace(
        network.arch.cell,
        [model.tokenizer.pieces[token] for token in tokens],
        bits,
        np.concatenate([step.gates for step in steps[1:]]),
        np.concatenate([step.state for step in steps]),
    )


def _bits(network: TracedNetwork, outputs: FloatArray, targets: npt.NDArray[np.int64]) -> Iterator[FloatArray]:
    for first in range(0, len(targets), _SCORED_AT_ONCE):  # few at once: a row has as many numbers as there are tokens
        part = slice(first, first + _SCORED_AT_ONCE)
        scores = network.log_probabilities(outputs[part])
        yield -np.take_along_axis(scores, targets[part, None], axis=1)[:, 0] / math.log(2)


def printable_piece(piece: bytes) -> str:
    r"""A token as it may stand in a table: a space as ``␣``, what is no printable character as ``\n``, ``\xe2``."""
    text = piece.decode("utf-8", "backslashreplace")
    return "".join("␣" if char == " " else char if char.isprintable() else ascii(char)[1:-1] for char in text)
