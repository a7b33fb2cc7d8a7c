"""Running a training in a test, to its end or until a signal."""

from pathlib import Path

import pytest

from gru_complete.errors import (
    InterruptedRun,
)
from gru_complete.storage import untrusted
from gru_complete.training import events
from gru_complete.training.run import run_training


def train(request, *, stop_after=None):
    """Run to the end, or until the signal that comes with step ``stop_after``; returns the events."""
    seen = []

    def stop_signal():
        is_time = bool(seen) and isinstance(seen[-1], events.Stepped | events.Evaluated) and seen[-1].step == stop_after
        return 2 if is_time else None

    for event in run_training(request, stop_signal=stop_signal):
        seen.append(event)
    return seen


def interrupt(request, step):
    with pytest.raises(InterruptedRun) as caught:
        train(request, stop_after=step)
    return caught.value


def of_type(seen, kind):
    return [event for event in seen if isinstance(event, kind)]


def weights_sha256(path):
    return untrusted.sha256_hex((path / "weights.safetensors").read_bytes())


def finished(metrics, *, model_path=Path("m"), uses_network=True):
    """The last event of a training."""
    return events.Finished(
        model_path=model_path, step=3, stopped_early=False, metrics=metrics, num_bytes=1000, seconds=60.4,
        preparing_seconds=5.2, closing_seconds=8.1, uses_network=uses_network, beginning="The ",
    )  # fmt: skip
