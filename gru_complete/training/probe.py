"""A short trial of how long a step of training takes on this machine."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from gru_complete.config import ModelConfig, TrainingConfig
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.batches import Batches, derived_seed
from gru_complete.training.learner import Learner

PROBE_SECONDS = 2.0
PROBE_SHARE = 0.02  # of the minutes, if that is less
STEPS_IN_TURN = 3
WAITING = 1.2  # times its processor time, for which a thread waits for others of this process as well


class Duration(NamedTuple):
    """How long something takes on this machine.

    Attributes:
        typical: at present, whatever else the machine does.
        quiet: if nothing else ran, with as many threads.
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
) -> Duration:
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
    steps: dict[int, list[Duration]] = {threads: [] for threads in choices}
    until = time.monotonic() + for_seconds
    _time_steps(learner, batches, 2)  # the first steps allocate
    while time.monotonic() < until or not all(steps.values()):
        for threads in choices:
            torch.set_num_threads(threads)
            steps[threads] += _time_steps(learner, batches, STEPS_IN_TURN)
    fastest = min(choices, key=lambda threads: statistics.median(step.typical for step in steps[threads]))
    torch.set_num_threads(fastest)
    typical = statistics.mean(step.typical for step in steps[fastest])
    return Duration(typical, min(typical, _mean_of_quickest([step.quiet for step in steps[fastest]])))


def timed(work: Callable[[], object], device: torch.device) -> Duration:
    """How long something takes, by the clock and if nothing else ran.

    Another process that has the processor does not use up this thread's time on it; but the thread also sleeps while it
    waits for others of this process, and on a GPU for most of the work.

    Args:
        work: what to do.
        device: where it is done.
    """
    start, processor_start = time.perf_counter(), time.thread_time()
    work()
    seconds, processor_seconds = time.perf_counter() - start, time.thread_time() - processor_start
    return Duration(seconds, min(seconds, WAITING * processor_seconds) if device.type == "cpu" else seconds)


def _mean_of_quickest(seconds: list[float]) -> float:
    """The mean of the quickest third, which another load has hardly disturbed."""
    return statistics.mean(sorted(seconds)[: max(1, len(seconds) // 3)])


def _time_steps(learner: Learner, batches: Batches, num_steps: int) -> list[Duration]:
    """The seconds of each of some steps from zero states."""

    def make(step: int) -> None:
        tokens, targets = batches.chunk(step)
        learner.update(tokens, targets, None, learning_rate=1e-6, dropout_seed=0)

    return [timed(partial(make, step), learner.device) for step in range(1, 1 + num_steps)]
