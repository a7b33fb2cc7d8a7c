"""The record of an inspection: what `inspect` reports about a text, in each of its formats."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from gru_complete.arrays import FloatArray
from gru_complete.inspection.probes import Unit
from gru_complete.inspection.trace import CLOSED, OPEN, Saturation, StateChange, Trace

NUM_CHANGES_SHOWN = 3  # units per token
_DIGITS = 4  # after the point, in JSON


class Inspection(NamedTuple):
    """A text, what the cells did with it, and which units to show.

    Attributes:
        model: the name of the model.
        text: the text.
        trace: what the cells did.
        units: for each layer, the units to show, the most interesting first.
        follows: the feature that a unit (layer, unit) follows better than all other units do, in a few words.
    """

    model: str
    text: bytes
    trace: Trace
    units: Sequence[Sequence[int]]
    follows: Mapping[tuple[int, int], str] = {}

    @classmethod
    def from_trace(
        cls, model: str, text: bytes, trace: Trace, followers: Sequence[tuple[str, Sequence[Unit]]], number: int
    ) -> "Inspection":
        """Choose the units to show: those that follow a feature, the best first, then those that vary most.

        Args:
            model: the name of the model.
            text: the text.
            trace: what the cells did.
            followers: features in a few words, each with the units that follow it, the best first; the feature that
                is followed best comes first.
            number: of units per layer, or all of them if a layer has fewer.
        """
        ranks = zip_longest(*(units for _, units in followers))  # the best unit of each feature, the second best, ...
        by_rank = [unit for rank in ranks for unit in rank if unit is not None]
        units = []
        for layer in range(trace.num_layers):
            following = [unit.unit for unit in by_rank if unit.layer == layer]
            units.append(list(dict.fromkeys([*following, *trace.most_varied(layer, number)]))[:number])
        follows: dict[tuple[int, int], str] = {}
        for feature, (best, *_) in followers:
            follows.setdefault((best.layer, best.unit), feature)
        return cls(model, text, trace, units, follows)

    @property
    def title(self) -> str:
        """The title of its pictures."""
        trace = self.trace
        layers = f"{trace.num_layers} layers of " if trace.num_layers > 1 else ""
        return f"{self.model}: {trace.cell}, {layers}{trace.hidden_size} units"

    def to_json(self) -> dict[str, Any]:
        """The object of ``inspect --json``, with layers from 1 and units from 0. A file format: keys are only added."""
        trace = self.trace
        lives = trace.half_lives()
        return {
            "model": self.model,
            "cell": trace.cell,
            "num_layers": trace.num_layers,
            "hidden_size": trace.hidden_size,
            "text": self.text.decode("utf-8", "replace"),
            "tokens": [self._token(position) for position in range(len(trace.pieces))],
            "gates": [_saturation(row) for row in trace.saturation()],
            "half_lives": None if lives is None else [[_finite(life) for life in layer] for layer in lives],
            "units": [self._unit(layer, unit) for layer, units in enumerate(self.units) for unit in units],
        }

    def _token(self, position: int) -> dict[str, Any]:
        trace = self.trace
        piece = trace.pieces[position]
        means = trace.gates[position].mean(axis=-1)  # (L, G)
        return {
            "text": piece.decode("utf-8", "replace"),
            "bytes": list(piece),
            "bits": _rounded(trace.bits[position]),
            "gates": dict(zip(trace.gate_names, _all_rounded(means.T), strict=True)),
            "switched": [_switch(switch) for switch in trace.largest_changes(position, NUM_CHANGES_SHOWN)],
        }

    def _unit(self, layer: int, unit: int) -> dict[str, Any]:
        trace = self.trace
        lives = trace.half_lives()
        values = trace.gates[:, layer, :, unit]
        return {
            "layer": layer + 1,
            "unit": unit,
            "follows": self.follows.get((layer, unit)),
            "half_life": None if lives is None else _finite(lives[layer, unit]),
            "state": _all_rounded(trace.states[1:, layer, 0, unit]),
            "gates": dict(zip(trace.gate_names, _all_rounded(values.T), strict=True)),
        }


def describe_saturation(rows: Sequence[Saturation]) -> str:
    """A sentence on whether most gate values are near 0 or 1 in this text."""
    if not rows:
        return "A simple RNN has no gates."
    total = sum(row.num_values for row in rows)
    share = sum((row.below + row.above) * row.num_values for row in rows) / total
    word = "Most gate values are" if share > 0.5 else "Gate values are not mostly"
    return f"{word} near 0 or 1 here: {share:.1%} are below {CLOSED} or above {OPEN}."


def _saturation(row: Saturation) -> dict[str, Any]:
    return {
        "layer": row.layer + 1,
        "gate": row.gate,
        "mean": _rounded(row.mean),
        "below_0.1": _rounded(row.below),
        "above_0.9": _rounded(row.above),
        "values": row.num_values,
    }


def _switch(switch: StateChange) -> dict[str, Any]:
    return {"layer": switch.layer + 1, "unit": switch.unit, "change": _rounded(switch.change)}


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)


def _all_rounded(values: FloatArray) -> Any:
    """An array as nested lists."""
    return np.round(values.astype(np.float64), _DIGITS).tolist()


def _finite(value: float) -> float | None:
    """A half-life for JSON, which has no infinity."""
    return _rounded(value) if math.isfinite(value) else None
