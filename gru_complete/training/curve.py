"""The learning curve of a training, from the log in its run directory."""

import json
from dataclasses import dataclass
from typing import Any

from gru_complete.model.run_dir import RunDir


@dataclass(frozen=True)
class EvaluationPoint:
    """The tuning part, looked at after ``step`` updates that took ``seconds``."""

    step: int
    seconds: float
    bits_per_byte: float


@dataclass(frozen=True)
class LearningCurve:
    """What a training logged on the way that led to its model.

    Args:
        losses: smoothed nats per token of the training text, by step, ascending.
        evaluations: ascending, at most one for a step.
    """

    losses: dict[int, float]
    evaluations: list[EvaluationPoint]


def read_curve(run_dir: RunDir) -> LearningCurve:
    """The curve so far; empty where there is no log.

    A training that was killed, or went back since its numbers were not finite, makes some steps again: the log then
    has lines of steps that led nowhere, which are left out.
    """
    losses: dict[int, float] = {}
    evaluations: list[EvaluationPoint] = []
    try:
        lines = run_dir.metrics_path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return LearningCurve(losses, evaluations)
    newest = 0
    for line in lines:
        try:
            record: dict[str, Any] = json.loads(line)
            kind = record["event"]
            step = int(record["to_step"]) + 1 if kind == "wentback" else int(record["step"])
            if step < newest or kind == "wentback":
                losses = {past: loss for past, loss in losses.items() if past < step}
                evaluations = [past for past in evaluations if past.step < step]
            newest = step
            if kind == "stepped":
                losses[step] = float(record["loss"])
            elif kind == "looked":
                evaluations = [past for past in evaluations if past.step < step]
                evaluations.append(
                    EvaluationPoint(step, float(record["seconds"]), float(record["tuning_bits_per_byte"]))
                )
        except (ValueError, KeyError, TypeError):  # a line that a kill has cut
            continue
    return LearningCurve(losses, evaluations)
