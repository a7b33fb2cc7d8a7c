"""A short trial of how long a step of training takes on this machine."""

import statistics
import time
from typing import NamedTuple

import torch

from gru_complete.config import ModelConfig, TrainingConfig
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.batches import Batches, derived_seed
from gru_complete.training.learner import Learner

PROBE_SECONDS = 2.0
PROBE_SHARE = 0.02  # of the minutes, if that is less
STEPS_IN_TURN = 3


class StepSeconds(NamedTuple):
    """How long a step takes on this machine.

    Attributes:
        typical: at present, whatever else the machine does.
        quiet: the mean of the quickest third, which another load has not disturbed.
    """

    typical: float
    quiet: float


def probe_step_seconds(
    model_config: ModelConfig,
    training: TrainingConfig,
    batches: Batches,
    *,
    vocab_size: int,
    device: torch.device,
    max_threads: int,
    for_seconds: float = PROBE_SECONDS,
) -> StepSeconds:
    """Time the steps of a throw-away model.

    Unless the config fixes the number of threads, one thread is compared with ``max_threads``, in several short turns,
    and the faster choice is left set.

    Args:
        model_config: the network, all sizes filled in.
        training: precision, optimizer and threads.
        batches: what the steps read.
        vocab_size: V.
        device: where training runs.
        max_threads: the most CPU threads to try.
        for_seconds: about how long to time them.
    """
    torch.manual_seed(derived_seed(training.seed, "probe"))
    learner = Learner(LanguageModel(vocab_size, **model_config.model_dump()).to(device), training, device)
    is_fixed = training.threads is not None or max_threads == 1 or device.type != "cpu"
    choices = [max_threads] if is_fixed else [1, max_threads]
    seconds: dict[int, list[float]] = {threads: [] for threads in choices}
    until = time.monotonic() + for_seconds
    _time_steps(learner, batches, 2)  # the first steps allocate
    while time.monotonic() < until or not all(seconds.values()):
        for threads in choices:
            torch.set_num_threads(threads)
            seconds[threads] += _time_steps(learner, batches, STEPS_IN_TURN)
    fastest = min(choices, key=lambda threads: statistics.median(seconds[threads]))
    torch.set_num_threads(fastest)
    steps = sorted(seconds[fastest])
    return StepSeconds(statistics.mean(steps), statistics.mean(steps[: max(1, len(steps) // 3)]))


def _time_steps(learner: Learner, batches: Batches, num_steps: int) -> list[float]:
    """The seconds of each of some steps from zero states."""
    state = None
    seconds: list[float] = []
    for step in range(1, 1 + num_steps):
        start = time.monotonic()
        tokens, targets = batches.chunk(step)
        state = learner.update(tokens, targets, state, learning_rate=1e-6, dropout_seed=0).state
        seconds.append(time.monotonic() - start)
    return seconds
