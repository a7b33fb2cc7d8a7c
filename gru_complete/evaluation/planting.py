"""A training like that of a model, on the same text with canaries in it, in a directory of its own.

What is the same: the text but for the canaries, the tokenizer, the tuning part, all settings, the seed and the number
of steps. Neither the model nor its run directory is touched.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gru_complete.arrays import TokenIds
from gru_complete.config import Config
from gru_complete.errors import ModelError, UsageError, printable
from gru_complete.evaluation.canaries import Canary, CanaryReport, make_canaries, plant, ranks_of
from gru_complete.model.corpus_words import dir_of_corpus
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper
from gru_complete.storage import atomic
from gru_complete.text.shards import documents, write_shard
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.training import events
from gru_complete.training.batches import derived_seed
from gru_complete.training.run import TrainingRequest, read_plan, run_training
from gru_complete.training.tokenized_corpus import TEXT_FACTS_FILE, TOKENIZER_FILE, read_part, spooled

_BLOCK_TOKENS = 1 << 16


class KnownTraining(NamedTuple):
    """How a model was trained, and on what.

    Attributes:
        config: all settings, none of them open.
        tokenizer: the model's.
        training: token ids of the training part, ``(N,)``.
        tuning: of the tuning part.
    """

    config: Config
    tokenizer: Tokenizer
    training: TokenIds
    tuning: TokenIds


def training_of(model: LoadedModel, *, device: str) -> KnownTraining:
    """How a model was trained, from its run directory; a training like it runs on ``device``, as in the config.

    Raises:
        UsageError: the model is an adapted one, or there is no run directory.
        ModelError: it is damaged, or another training's.
    """
    if model.manifest.base is not None:
        message = f"{printable(model.path.name)} was adapted, and its text was not kept"
        raise UsageError(message, hint=f"ask the model that it was made from, '{model.manifest.base.name}'")
    run_dir = dir_of_corpus(model.path)
    plan = read_plan(run_dir)
    facts = model.manifest.training
    if facts.get("run_id") != plan.run_id:
        raise ModelError(f"what lies beside {printable(model.path.name)} belongs to another training")
    steps = facts.get("steps")
    if type(steps) is not int or steps < 1:
        raise ModelError(f"{printable(model.path.name)} does not say how many steps it was trained for")
    # The text is as that training saw it: what it was to redact is redacted.
    config = plan.config.model_copy(
        update={
            "data": plan.config.data.model_copy(update={"redact": False}),
            "training": plan.config.training.model_copy(update={"steps": steps, "device": device}),
        }
    )
    streams = [read_part(run_dir, part, model.tokenizer)[0] for part in ("training", "tuning")]
    return KnownTraining(config, model.tokenizer, *streams)


@dataclasses.dataclass(frozen=True)
class Planted:
    """The training with canaries is over."""

    model: LoadedModel
    canaries: Sequence[Canary]


def train_with_canaries(known: KnownTraining, directory: Path) -> Generator[events.Event | Planted, None, None]:
    """Train a model on the same text with canaries in it.

    Args:
        known: the training to do again.
        directory: an empty one; all that is written goes there.

    Yields:
        What training tells, and ``Planted`` at last.

    Raises:
        EnvironmentFailure, DivergedError: as their names say.
    """
    yield events.Working("planting")
    seed = known.config.training.seed
    texts = [b"".join(blocks) for blocks in _texts(known.training, known.tokenizer)]
    canaries = make_canaries(texts, derived_seed(seed, "canaries"))
    texts = plant(texts, canaries, derived_seed(seed, "places of canaries"))
    source, prepared = directory / "text.txt", directory / "text"
    atomic.make_directory(prepared)
    with atomic.open_stream(source) as stream:
        stream.writelines(texts)
    with spooled([str(source)], directory, known.config.data, stdin=None) as (_, spool):
        sha256 = spool.report.sha256
    atomic.write_file(prepared / TOKENIZER_FILE, known.tokenizer.model_bytes)
    atomic.write_file(prepared / TEXT_FACTS_FILE, b"{}")
    blocks = ([text] for text in texts)
    write_shard(prepared / "training.tokens", blocks, known.tokenizer, corpus_sha256=sha256)
    tuning = _texts(known.tuning, known.tokenizer)
    write_shard(prepared / "tuning.tokens", tuning, known.tokenizer, corpus_sha256=sha256)
    request = TrainingRequest(
        [str(source)],
        directory / "model",
        known.config,
        replace=False,
        started=time.monotonic(),
        prepared=prepared,
        is_remembered=False,
    )
    yield from run_training(request, stop_signal=lambda: None)
    yield Planted(load_model(directory / "model"), canaries)


def _texts(stream: TokenIds, tokenizer: Tokenizer) -> Iterator[Iterator[bytes]]:
    """The documents of a stream, each in blocks."""
    for document in documents(stream):
        inner = document[1 : len(document) - int(document[-1] == DOCUMENT_END)]
        starts = range(0, len(inner), _BLOCK_TOKENS)
        yield (tokenizer.decode(inner[start : start + _BLOCK_TOKENS].tolist()) for start in starts)


def look_for_canaries(planted: Planted, *, progress: Callable[[int], object] | None = None) -> CanaryReport:
    """Rank every canary, under the whole model and under its network alone.

    Args:
        planted: the model, and what was planted.
        progress: is told 1 for each canary, of ``NUM_CANARIES``.

    Raises:
        ModelError: the tokenizer does not cut numbers into digits.
    """
    model = planted.model
    stepper = Stepper(model.manifest.arch, model.weights)
    predictors = (
        [Predictor(stepper)] if model.mixture is None else [Predictor(stepper, model.mixture), Predictor(stepper)]
    )
    ranks = []
    for canary in planted.canaries:
        ranks.append(ranks_of(canary, model.tokenizer, predictors))
        if progress is not None:
            progress(1)
    return CanaryReport.of(int(model.manifest.training["steps"]), planted.canaries, ranks)
