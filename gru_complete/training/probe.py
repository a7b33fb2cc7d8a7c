"""Short trials that predict how long the parts of a training take on this machine."""

import statistics
import time
from typing import NamedTuple

import numpy as np
import torch

from gru_complete.arrays import TokenIds
from gru_complete.config import Config, ModelConfig, TrainingConfig
from gru_complete.ngrams.counts import NGrams
from gru_complete.nn.language_model import LanguageModel
from gru_complete.training.batches import Batches, derived_seed
from gru_complete.training.learner import Learner
from gru_complete.training.mixing import MAX_SCORES, ONLINE_TRIAL_TOKENS, make_mixture
from gru_complete.training.scoring import score_tokens
from gru_complete.training.tokenized_corpus import TokenizedCorpus

PROBE_SECONDS = 2.0
PROBE_SHARE = 0.02  # of the minutes, if that is less
STEPS_IN_TURN = 3
CLOSING_SECONDS = 1.5  # writing the model and leaving Python
REPORT_TOKENS = 30_000  # of the held-out split, for the line at the end; `eval` scores all of it
TRIED_TOKENS = 1000  # scored to estimate how long the end will take


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


def estimate_closing_seconds(
    corpus: TokenizedCorpus, counts: NGrams | None, config: Config, device: torch.device
) -> float:
    """Seconds that the work after the last step takes: fitting the mixing weights and scoring the held-out split.

    Both are tried on little text with a throw-away network of medium size.

    Args:
        corpus: the text.
        counts: the n-gram counts of the training split; None if the network is to work alone.
        config: as the user gave it.
        device: where training runs.
    """
    model = LanguageModel(corpus.tokenizer.vocab_size, embedding_size=256, hidden_size=384).to(device)
    seconds, mixture = 0.0, None
    if counts is not None:
        tuning = corpus.streams["tuning"]
        trials: dict[int, float] = {}
        few, many = TRIED_TOKENS // 5, TRIED_TOKENS
        for num_tokens in (few, few, many):  # the very first is slow
            sample: TokenIds = np.asarray(tuning[:num_tokens])
            start = time.monotonic()
            mixture = make_mixture(model, counts, sample, config.ngrams, device=device)
            trials[num_tokens] = time.monotonic() - start
        tokens = min(len(tuning), max((MAX_SCORES + MAX_SCORES // 8) // counts.vocab_size, ONLINE_TRIAL_TOKENS))
        seconds += trials[many] + max(0.0, trials[many] - trials[few]) / (many - few) * max(0, tokens - many)
    if "held_out" in corpus.streams:
        stream = np.asarray(corpus.streams["held_out"][:REPORT_TOKENS], dtype=np.int64)
        start = time.monotonic()
        for adapted in (False, True) if mixture is not None and mixture.adapts else (False,):
            score_tokens(model, [stream[:TRIED_TOKENS]], mixture=mixture, adapted=adapted, device=device)
        seconds += (time.monotonic() - start) / min(TRIED_TOKENS, len(stream)) * len(stream) + 1.0  # and xz
    return seconds
