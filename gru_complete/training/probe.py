"""How long a training step takes on this machine."""

import statistics
import time

import torch

from gru_complete.config import ModelConfig, TrainingConfig
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.batches import Batches, derived_seed
from gru_complete.training.learner import Learner

PROBE_SECONDS = 2.0


def probe_step_seconds(
    model_config: ModelConfig,
    training: TrainingConfig,
    batches: Batches,
    *,
    vocab_size: int,
    device: torch.device,
    max_threads: int,
) -> float:
    """Seconds of one training step, from about ``PROBE_SECONDS`` of steps of a throw-away model.

    Unless the config fixes the number of threads, ``max_threads`` are tried against one, and the quicker is left set:
    on a machine that is busy with something else, threads that wait for each other are many times slower than one.
    """
    torch.manual_seed(derived_seed(training.seed, "probe"))
    learner = Learner(LanguageModel(vocab_size, **model_config.model_dump()).to(device), training, device)
    fixed = training.threads is not None or max_threads == 1 or device.type != "cpu"
    choices = [max_threads] if fixed else [1, max_threads]
    seconds: dict[int, float] = {}
    for threads in choices:
        torch.set_num_threads(threads)
        seconds[threads] = _median_step_seconds(learner, batches, PROBE_SECONDS / len(choices))
    quickest = min(choices, key=lambda threads: seconds[threads])
    torch.set_num_threads(quickest)
    return seconds[quickest]


def _median_step_seconds(learner: Learner, batches: Batches, for_seconds: float) -> float:
    state = None
    seconds: list[float] = []
    until = time.monotonic() + for_seconds
    while time.monotonic() < until or len(seconds) < 5:
        start = time.monotonic()
        tokens, targets = batches.chunk(1 + len(seconds))
        state = learner.update(tokens, targets, state, learning_rate=1e-6, dropout_seed=0).state
        seconds.append(time.monotonic() - start)
    return statistics.median(seconds[2:])  # the first steps allocate
