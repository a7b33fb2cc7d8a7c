"""The learning curve of a training, from the log in its run directory (``metrics_log.py`` writes it)."""

import json
import math
from dataclasses import dataclass
from typing import Any

from gru_complete.errors import ModelError
from gru_complete.model.run_dir import RunDir
from gru_complete.storage import untrusted
from gru_complete.training.events import Evaluated, RolledBack, Stepped

_MAX_LOG_BYTES = 100_000_000


@dataclass(frozen=True)
class EvaluationPoint:
    """What the tuning split (the validation split) cost after ``step`` updates that took ``seconds``."""

    step: int
    seconds: float
    bits_per_byte: float


@dataclass(frozen=True)
class LearningCurve:
    """What a training logged about the steps that led to its model.

    Args:
        losses: smoothed nats per token of the training text, by step, ascending.
        evaluations: ascending, at most one per step.
    """

    losses: dict[int, float]
    evaluations: list[EvaluationPoint]


def read_curve(run_dir: RunDir) -> LearningCurve:
    """The curve so far; empty if there is no log.

    A training that was killed, or rolled back because its numbers were not finite, makes some steps again: the log then
    has lines of steps that led nowhere, which are left out.
    """
    losses: dict[int, float] = {}
    evaluations: list[EvaluationPoint] = []
    try:
        log = untrusted.read_regular_file(run_dir.metrics_path, max_bytes=_MAX_LOG_BYTES)
    except ModelError:
        return LearningCurve(losses, evaluations)
    newest = 0
    for line in log.decode(errors="replace").splitlines():
        try:
            record: dict[str, Any] = json.loads(line)
            name = record["event"]
            is_rollback = name == RolledBack.log_name
            step = int(record["to_step"]) + 1 if is_rollback else int(record["step"])
            if step < newest or is_rollback:
                losses = {past: loss for past, loss in losses.items() if past < step}
                evaluations = [past for past in evaluations if past.step < step]
            newest = step
            if name == Stepped.log_name:
                losses[step] = _finite(record["loss"])
            elif name == Evaluated.log_name:
                evaluations = [past for past in evaluations if past.step < step]
                seconds, bits_per_byte = _finite(record["seconds"]), _finite(record["tuning_bits_per_byte"])
                evaluations.append(EvaluationPoint(step, seconds, bits_per_byte))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # a line cut off by a kill, no figure
            continue
    return LearningCurve(losses, evaluations)


def _finite(figure: float) -> float:
    """The figure; a ValueError if it is infinite or not a number, which no curve can go through."""
    if not math.isfinite(figure):
        raise ValueError
    return figure
