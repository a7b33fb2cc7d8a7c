"""What `compare` measures of one kind of cell, and how ``compare --json`` says it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gru_complete.evaluation.gradients import GradientFlow
from gru_complete.model.architecture import Architecture
from gru_complete.training.curve import EvaluationPoint

MIN_FAR_WORDS = 20
"""Pairs with at least this many words between cue and word count as far: they need memory."""


@dataclass(frozen=True)
class CellResult:
    """The figures of one cell; if its training diverged, only its sizes and the message.

    Args:
        cell: its name.
        hidden_size: H.
        num_parameters: of the whole network.
        num_cell_parameters: of its cells, without embedding and projection.
        steps: updates made.
        training_tokens_per_second: in training steps, without evaluations and saves; see ``training_speeds``.
        completion_tokens_per_second: of the runtime, token by token; see ``completion_speeds``.
        bits_per_byte: of the held-out split under the network alone; of the tuning split if nothing was held out.
        num_bytes: of that split.
        at_start: gradient flow before the first update; None if the text is too short to measure it.
        trained: gradient flow after training; None likewise.
        pairs: as in ``eval --json``, and ``far``: pairs of at least ``MIN_FAR_WORDS`` words. None without pairs.
        recall: as in ``recall --json``; None if the task was left out.
        evaluations: bits per byte of the tuning split during training; "looks" in ``compare --json``.
        diverged: the message of the training that diverged, else None.
    """

    cell: str
    hidden_size: int
    num_parameters: int
    num_cell_parameters: int
    steps: int = 0
    training_tokens_per_second: float = math.nan
    completion_tokens_per_second: float = math.nan
    bits_per_byte: float = math.nan
    num_bytes: int = 0
    at_start: GradientFlow | None = None
    trained: GradientFlow | None = None
    pairs: Mapping[str, Any] | None = None
    recall: Mapping[str, Any] | None = None
    evaluations: Sequence[EvaluationPoint] = ()
    diverged: str | None = None

    @classmethod
    def from_architecture(cls, arch: Architecture, **figures: Any) -> CellResult:
        """The sizes of a network, and what was measured of it, by the names of the fields."""
        shapes = arch.tensor_shapes()
        num_cell_parameters = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("cells."))
        return cls(arch.cell, arch.hidden_size, arch.num_parameters, num_cell_parameters, **figures)

    def to_json(self) -> dict[str, Any]:
        """One of ``cells`` in ``compare --json``."""
        record: dict[str, Any] = {
            "cell": self.cell,
            "hidden_size": self.hidden_size,
            "parameters": self.num_parameters,
            "cell_parameters": self.num_cell_parameters,
        }
        if self.diverged is not None:
            return record | {"diverged": self.diverged}
        flows = {"at_start": self.at_start, "trained": self.trained}
        return record | {
            "steps": self.steps,
            "training_tokens_per_second": self.training_tokens_per_second,
            "completion_tokens_per_second": self.completion_tokens_per_second,
            "bits_per_byte": self.bits_per_byte,
            "num_bytes": self.num_bytes,
            "gradient_flow": {name: None if flow is None else flow.to_json() for name, flow in flows.items()},
            "pairs": self.pairs,
            "recall": self.recall,
            "looks": [asdict(evaluation) for evaluation in self.evaluations],
        }
