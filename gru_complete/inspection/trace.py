"""What the cells of a network did with a text: gates, states and surprisal, token by token.

Only the network is traced: the n-gram model beside it has no gates, and the surprisal is that of the network alone.

The equations are explained in ``nn/cells.py``. They are computed once more here, in numpy, because neither the loops of
training nor the steps of the runtime return their gates.

Shapes: B texts read side by side, T tokens, E embedding_size, G gates, H hidden_size, L num_layers, S state_rows (2 for
``lstm``, else 1), V vocab_size.
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
"""The gates of each cell, in the order of its weight rows. Candidates are not gates; a simple RNN has none."""

CLOSED, OPEN = 0.1, 0.9
"""A gate is called closed below the first value, and open above the second."""

MAX_TOKENS = 2_000
_SCORED_AT_ONCE = 64  # tokens; each needs V scores
_MIN_KEPT = 1e-12


class TracedStep(NamedTuple):
    """What reading one token did in each of B texts.

    Attributes:
        gates: values between 0 and 1, ``(B, L, G, H)``.
        state: the state after the token, ``(B, L, S, H)``.
        output: of the last layer, with its residual connection, ``(B, H)``.
    """

    gates: FloatArray
    state: FloatArray
    output: FloatArray


class TracedNetwork:
    """A model's network, whose steps also return the gates.

    Args:
        model: the model.
        dtype: the type to compute in.
    """

    def __init__(self, model: LoadedModel, dtype: npt.DTypeLike = np.float32) -> None:
        self.arch = model.manifest.arch
        self.weights: dict[str, FloatArray] = {name: array.astype(dtype) for name, array in model.weights.items()}
        self.embedding = self.weights["embedding"]

    @property
    def gate_names(self) -> tuple[str, ...]:
        """The names of the cell's gates, in order."""
        return GATE_NAMES[self.arch.cell]

    def initial_state(self, num_texts: int) -> FloatArray:
        """The state before a document, ``(B, L, S, H)``."""
        arch = self.arch
        shape = (num_texts, arch.num_layers, STATE_ROWS[arch.cell], arch.hidden_size)
        return np.zeros(shape, self.embedding.dtype)

    def step(self, tokens: Sequence[int] | npt.NDArray[np.integer[Any]], state: FloatArray) -> TracedStep:
        """Read one token in each of B texts.

        Args:
            tokens: their ids, ``(B,)``.
            state: the state of each text before the token, ``(B, L, S, H)``; not changed.
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
        """The gates ``(B, G, H)`` and the next state ``(B, S, H)`` of a layer; see ``nn/cells.py``."""
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
        """The log probabilities of the next token by the network alone, ``(B, V)``, for outputs ``(B, H)``."""
        hidden = outputs @ self.weights["projection"].T if "projection" in self.weights else outputs
        scores: FloatArray = hidden @ self.embedding.T + self.weights["output_bias"]
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return scores


def read_in_parallel(
    network: TracedNetwork,
    texts: Sequence[Sequence[int]],
    observe: Callable[[int, npt.NDArray[np.intp], TracedStep], None],
) -> None:
    """Read several texts side by side, each from the start of a document, and report every step.

    Args:
        network: the network.
        texts: token ids without document ends; none may be empty.
        observe: called with each position, the indices of the texts that have a token there ``(B,)``, and the step.
    """
    order = np.argsort([-len(text) for text in texts], kind="stable")
    lengths = np.array([len(texts[index]) for index in order])
    state = network.initial_state(len(texts))
    state = network.step([DOCUMENT_END] * len(texts), state).state
    for position in range(int(lengths.max(initial=0))):
        active = int(np.searchsorted(-lengths, -position))  # those longer than the position come first
        rows = order[:active]
        step = network.step([texts[index][position] for index in rows], state[:active])
        observe(position, rows, step)
        state = step.state


class StateChange(NamedTuple):
    """How much a token changed the state h of a unit: by ``change``, which is from -2 to 2 where h is bounded."""

    layer: int
    unit: int
    change: float


class Saturation(NamedTuple):
    """The values of one gate of a layer over a text: their mean, and the shares below ``CLOSED`` and above ``OPEN``."""

    layer: int
    gate: str
    mean: float
    below: float
    above: float
    num_values: int


class Trace:
    """What the network did with a text, read from the start of a document.

    Attributes:
        cell: the kind of cell.
        pieces: the bytes of each token, T of them.
        bits: the surprisal of each token, ``(T,)``.
        gates: the gates at each token, ``(T, L, G, H)``.
        states: the states before the first token and after each, ``(T + 1, L, S, H)``.
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
        """The names of the cell's gates, in order."""
        return GATE_NAMES[self.cell]

    @property
    def num_layers(self) -> int:
        """The number of layers, L."""
        return int(self.gates.shape[1])

    @property
    def hidden_size(self) -> int:
        """The number of units of a layer, H."""
        return int(self.gates.shape[3])

    def panels(self, layer: int) -> dict[str, FloatArray]:
        """What can be drawn of a layer: its gates by name, each ``(T, H)``, from 0 to 1.

        A cell without gates has its state instead: (h + 1) / 2 of an ``rnn``; of an ``rnn-relu``, whose state is not
        bounded, h divided by its largest value in this text.
        """
        if not self.gate_names:
            states = self.states[1:, layer, 0]
            if self.cell == "rnn-relu":
                return {"state": states / max(float(states.max()), _MIN_KEPT)}
            return {"state": (states + 1) / 2}
        return {name: self.gates[:, layer, index] for index, name in enumerate(self.gate_names)}

    @cached_property
    def changes(self) -> FloatArray:
        """By how much each token changed h, ``(T, L, H)``."""
        difference: FloatArray = np.diff(self.states[:, :, 0], axis=0)
        return difference

    def largest_changes(self, position: int, number: int, *, layer: int | None = None) -> list[StateChange]:
        """The units that a token changed most.

        Args:
            position: of the token, from 0.
            number: of units.
            layer: take units of this layer only; None: of all.

        Returns:
            The units, the largest change first.
        """
        changes = self.changes[position]
        layers = range(self.num_layers) if layer is None else [layer]
        candidates = [
            StateChange(index, int(unit), float(changes[index, unit]))
            for index in layers
            for unit in _top(changes[index], number)
        ]
        return sorted(candidates, key=lambda change: -abs(change.change))[:number]

    def most_varied(self, layer: int, number: int) -> list[int]:
        """The units whose update gate (``lstm``: forget gate; without gates: state) varies most over the text."""
        panels = self.panels(layer)
        values = panels["forget"] if "forget" in panels else next(iter(panels.values()))
        return [int(unit) for unit in _top(values.std(axis=0), number)]

    def saturation(self) -> list[Saturation]:
        """What share of each gate's values is closed and open, by layer; empty for a cell without gates."""
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
        """After how many tokens half of a unit's state is left, ``(L, H)``; None for a cell without gates.

        One token keeps the share k_t of the state: 1 - u_t of a GRU's h, f_t of an LSTM's memory. Over n tokens the
        shares multiply, so with the mean logarithm over the tokens of this text

            n_half = ln(1/2) / mean_t(ln k_t).

        This counts only what stays in the unit itself, not what returns to it through other units. A unit that never
        forgets has an infinite half-life.
        """
        if not self.gate_names:
            return None
        kept = self.gates[:, :, 1] if self.cell == "lstm" else 1 - self.gates[:, :, 0]
        mean = np.log(np.maximum(kept.astype(np.float64), _MIN_KEPT)).mean(axis=0)
        with np.errstate(divide="ignore"):
            lives: FloatArray = math.log(0.5) / np.minimum(mean, -0.0)
        return lives


def _top(values: FloatArray, number: int) -> npt.NDArray[np.intp]:
    """The indices of the values of the largest magnitude, the largest first; equal ones keep their order."""
    return np.argsort(-np.abs(values), kind="stable")[:number]


def trace_text(model: LoadedModel, text: bytes, *, dtype: npt.DTypeLike = np.float32) -> Trace:
    """Read a text and keep everything that the cells did.

    Args:
        model: the model.
        text: the text, UTF-8 or any bytes.
        dtype: the type to compute in.

    Raises:
        CorpusError: there is no text, or more than ``MAX_TOKENS`` tokens of it.
    """
    tokens = model.tokenizer.encode(text)
    if not tokens:
        raise CorpusError("there is no text to inspect")
    if len(tokens) > MAX_TOKENS:
        message = f"the text has {len(tokens):,} tokens; at most {MAX_TOKENS:,} can be inspected together"
        raise CorpusError(message, hint="give a part of it, as in: head -c 2000 FILE | gru-complete inspect -")
    network = TracedNetwork(model, dtype)
    document_start = network.step([DOCUMENT_END], network.initial_state(1))
    steps = [document_start]
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
    """The surprisal of target tokens ``(T,)`` after outputs ``(T, H)``, in blocks."""
    for first in range(0, len(targets), _SCORED_AT_ONCE):
        part = slice(first, first + _SCORED_AT_ONCE)
        scores = network.log_probabilities(outputs[part])
        yield -np.take_along_axis(scores, targets[part, None], axis=1)[:, 0] / math.log(2)


def printable_piece(piece: bytes) -> str:
    r"""A token for a table: a space as ``␣``, anything that is not a printable character as ``\n`` or ``\xe2``."""
    text = piece.decode("utf-8", "backslashreplace")
    return "".join("␣" if char == " " else char if char.isprintable() else ascii(char)[1:-1] for char in text)
