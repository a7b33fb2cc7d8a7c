"""Making a plan: width, batch size, number of steps and dropout, from the corpus and a speed probe of a few seconds.

Letters: N tokens of the training split, V vocab_size, H hidden_size.
"""

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from gru_complete.config import Config, ModelConfig, TrainingConfig
from gru_complete.errors import ConfigError, ModelError
from gru_complete.model.architecture import Architecture
from gru_complete.model.home import BUILT_IN
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.pair import NGramPair
from gru_complete.training import probe
from gru_complete.training.automatic import (
    PROBED_WIDTH,
    WIDTH_WITHOUT_MINUTES,
    automatic_batch_size,
    automatic_dropout,
    automatic_hidden_size,
    automatic_learning_rate,
    automatic_precision,
    automatic_vocab_size,
    automatic_weight_dropout,
    is_wide,
    max_useful_steps,
)
from gru_complete.training.base import AUTOMATIC, FROM_NOTHING, NO_BASE, Start, config_with_base
from gru_complete.training.batches import Batches, paragraph_ends
from gru_complete.training.closing_time import estimate_closing_seconds
from gru_complete.training.pace import usual_reserve
from gru_complete.training.plan import Plan, architecture_from_config, describe_environment
from gru_complete.training.tokenized_corpus import TokenizedCorpus

PROBED_DROPOUT = 0.1  # any value: it costs the same
GUESSED_RESERVE_SHARE = 0.1  # of the minutes, for what follows the steps, before the width is known
EVALUATION_OVERHEAD = 1.04  # evaluations and saves take 4 % of the steps' time


class Sizes(NamedTuple):
    """The sizes of the network and of its batches."""

    hidden_size: int
    embedding_size: int
    batch_size: int


class Steps(NamedTuple):
    """The number of optimizer updates.

    Attributes:
        max_steps: the number.
        budget_seconds: what they may take; None if the user gave the number.
        speed: what one of them takes; zero if the user gave the number.
    """

    max_steps: int
    budget_seconds: float | None
    speed: probe.Duration = probe.Duration(0.0, 0.0)


@dataclass(frozen=True)
class Situation:
    """What the decisions depend on.

    Args:
        config: as the user gave it.
        training: its section for training, with the precision filled in.
        corpus: the text.
        deadline: the ``time.monotonic()`` at which the command is to end.
        device: where training runs.
        max_threads: the most CPU threads to try.
        has_base: whether the network starts from a base.
        probed: what is known already of the speed of networks.
    """

    config: Config
    training: TrainingConfig
    corpus: TokenizedCorpus
    deadline: float
    device: torch.device
    max_threads: int
    has_base: bool = False
    probed: dict[Sizes, probe.Duration] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """N."""
        return len(self.corpus.streams["training"])

    @property
    def num_bytes(self) -> int:
        """Bytes of the training split."""
        return self.corpus.headers["training"].num_bytes

    def seconds_left(self, reserve: float) -> float:
        """What is left for steps and evaluations if ``reserve`` seconds are kept for what follows, at least 1."""
        return max(1.0, self.deadline - reserve - time.monotonic())

    def model_with(self, sizes: Sizes, **settings: float) -> ModelConfig:
        """The network's section of the config with these sizes and settings filled in."""
        filled_in = {"hidden_size": sizes.hidden_size, "embedding_size": sizes.embedding_size, **settings}
        return self.config.model.model_copy(update=filled_in)

    def architecture(self, sizes: Sizes) -> Architecture:
        """The network of these sizes."""
        return architecture_from_config(self.model_with(sizes), self.corpus.tokenizer.vocab_size)

    def batches(self, sizes: Sizes) -> Batches:
        """What the steps read.

        Raises:
            CorpusError: the text is too short for the batch size.
        """
        stream = self.corpus.streams["training"]
        ends = paragraph_ends(self.corpus.tokenizer, stream)
        return Batches(stream, ends, sizes.batch_size, self.training.seq_len, self.training.seed)

    def epochs(self, sizes: Sizes, num_steps: float) -> float:
        """How often each token is read in ``num_steps``."""
        return num_steps * sizes.batch_size * self.training.seq_len / self.num_tokens


def make_plan(
    config: Config,
    corpus: TokenizedCorpus,
    counts: NGrams | NGramPair | None,
    start: Start = FROM_NOTHING,
    *,
    started: float,
    counting_seconds: float,
    device: torch.device,
) -> Plan:
    """Decide what the config leaves open.

    Args:
        config: as the user gave it.
        corpus: the text.
        counts: the n-gram counts of its training split; None if the network is to work alone.
        start: what to start from.
        started: the ``time.monotonic()`` from which the minutes count.
        counting_seconds: what it takes to count the n-grams, if nothing else runs.
        device: where training runs.

    Raises:
        ConfigError: the config asks for sizes beyond what a model may have.
        CorpusError: the text is too short for the batch.
    """
    requested, base = config, start.base
    if base is not None:
        config = config_with_base(config, base)
    precision, rate = config.training.precision, config.training.learning_rate
    settings = {
        "precision": automatic_precision(device) if precision == "auto" else precision,
        "learning_rate": rate or automatic_learning_rate(has_base=base is not None),
        "base": _base_name(config.training.base, start),
        "quantized": base is not None if config.training.quantized is None else config.training.quantized,
    }
    training = config.training.model_copy(update=settings)
    deadline = started + 60 * training.minutes
    situation = Situation(config, training, corpus, deadline, device, torch.get_num_threads(), base is not None)

    hidden_size = choose_hidden_size(situation)
    sizes = choose_sizes(situation, hidden_size)
    closing_seconds = 0.0  # only minutes make it matter
    if training.steps is None:
        closing_seconds = counting_seconds + estimate_closing_seconds(corpus, counts, hidden_size, device)
    max_steps, budget_seconds, speed = choose_steps(situation, sizes, usual_reserve(training, closing_seconds))
    wide = is_wide(sizes.hidden_size, situation.num_bytes)
    dropout, weight_dropout = choose_dropout(config.model, epochs=situation.epochs(sizes, max_steps), wide=wide)

    vocab_size = config.tokenizer.vocab_size or automatic_vocab_size(situation.num_bytes)
    run_settings = {"batch_size": sizes.batch_size, "threads": torch.get_num_threads(), "device": device.type}
    filled_in = {
        "tokenizer": config.tokenizer.model_copy(update={"vocab_size": vocab_size}),
        "model": situation.model_with(sizes, dropout=dropout, weight_dropout=weight_dropout),
        "training": training.model_copy(update=run_settings),
    }
    return Plan(
        requested=requested,
        config=config.model_copy(update=filled_in),
        max_steps=max_steps,
        evaluate_every=max(1, math.ceil(max_steps / training.evaluations)),
        budget_seconds=budget_seconds,
        corpus_sha256=corpus.headers["training"].corpus_sha256,
        environment=describe_environment(device),
        step_seconds=speed.typical,
        quiet_step_seconds=speed.quiet,
        closing_seconds=closing_seconds,
        base_sha256=None if base is None else base.fingerprint,
        base_bits=None if start.choice is None else start.choice.base_bits,
        counts_bits=None if start.choice is None else start.choice.counts_bits,
    )


def _base_name(wanted: str, start: Start) -> str:
    """What ``training.base`` stands for."""
    if wanted != AUTOMATIC:
        return wanted
    return NO_BASE if start.base is None else BUILT_IN


def choose_hidden_size(situation: Situation) -> int:
    """H: what the config says, else the widest network that the text and the time allow.

    Another load may come or go at any time, and a network that is too narrow cannot be mended. So the steps that are
    expected are the mean of those at the present speed and of those on a quiet machine: never less than half of the
    latter, which makes a difference of one width.
    """
    if situation.config.model.hidden_size is not None:
        return situation.config.model.hidden_size
    if situation.training.steps is not None:
        return WIDTH_WITHOUT_MINUTES
    probed = choose_sizes(situation, PROBED_WIDTH)
    seconds = situation.seconds_left(GUESSED_RESERVE_SHARE * 60 * situation.training.minutes)
    speed = _probe(situation, probed)
    num_steps = seconds / EVALUATION_OVERHEAD * (1 / speed.quiet + 1 / speed.typical) / 2
    num_tokens = num_steps * probed.batch_size * situation.training.seq_len

    def num_weights(hidden_size: int) -> int:
        return situation.architecture(choose_sizes(situation, hidden_size)).num_parameters

    return automatic_hidden_size(situation.num_bytes, situation.num_tokens, num_weights, num_tokens)


def choose_sizes(situation: Situation, hidden_size: int) -> Sizes:
    """The other sizes: what the config says, else what suits this width.

    Raises:
        ConfigError: they are beyond what a model may have.
    """
    embedding_size = situation.config.model.embedding_size or min(256, hidden_size)
    batch_size = situation.config.training.batch_size or automatic_batch_size(
        situation.num_tokens, hidden_size, situation.device
    )
    sizes = Sizes(hidden_size, embedding_size, batch_size)
    try:
        Architecture.from_json(situation.architecture(sizes)._asdict())
    except ModelError as error:
        raise ConfigError(f"the model would be too large: {error}") from None
    return sizes


def choose_steps(situation: Situation, sizes: Sizes, reserve: float) -> Steps:
    """What the config says, else the steps that fit the time, but never more than are useful.

    Args:
        situation: what is known.
        sizes: of the network.
        reserve: seconds that are kept for what follows the steps.

    Raises:
        CorpusError: the text is too short for the batch size.
    """
    batches = situation.batches(sizes)
    if situation.training.steps is not None:
        return Steps(situation.training.steps, None)
    speed, seconds = _probe(situation, sizes), situation.seconds_left(reserve)
    num_steps = int(seconds / (speed.typical * EVALUATION_OVERHEAD))
    return Steps(max(1, min(num_steps, max_useful_steps(batches, has_base=situation.has_base))), seconds, speed)


def choose_dropout(model: ModelConfig, *, epochs: float, wide: bool) -> tuple[float, float]:
    """Dropout of features and of recurrent weights: what the config says, else what suits the number of epochs."""
    dropout, weight_dropout = model.dropout, model.weight_dropout
    if dropout is None:
        dropout = automatic_dropout(epochs)
    if weight_dropout is None:
        weight_dropout = automatic_weight_dropout(epochs, wide=wide)
    return dropout, weight_dropout


def _probe(situation: Situation, sizes: Sizes) -> probe.Duration:
    """Time the steps of a network of these sizes, once."""
    if sizes in situation.probed:
        return situation.probed[sizes]
    wished = situation.config.model
    model = situation.model_with(
        sizes,
        dropout=PROBED_DROPOUT if wished.dropout is None else wished.dropout,
        weight_dropout=wished.weight_dropout or 0.0,
    )
    situation.probed[sizes] = probe.probe_step_seconds(
        model,
        situation.training,
        situation.batches(sizes),
        vocab_size=situation.corpus.tokenizer.vocab_size,
        device=situation.device,
        max_threads=situation.max_threads,
        for_seconds=min(probe.PROBE_SECONDS, probe.PROBE_SHARE * 60 * situation.training.minutes),
    )
    return situation.probed[sizes]
