"""What a new text teaches a finished model, kept as a small change to its weights.

A few passes over the new text; its end is kept apart and says when to stop, and whether the model gained at all.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from gru_complete.arrays import TokenIds
from gru_complete.config import DataConfig, TrainingConfig
from gru_complete.errors import InterruptedRun, UsageError, printable
from gru_complete.model.delta import Delta, apply_delta, pack_delta
from gru_complete.model.directory import LoadedModel, load_model, save_delta
from gru_complete.model.manifest import CHECK_THRESHOLD, DELTA, is_model_name
from gru_complete.model.run_dir import Part, RunDir
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn.language_model import LanguageModel, export_weights, load_weights
from gru_complete.storage import atomic
from gru_complete.text import corpus, splitting, units
from gru_complete.text.secrets import SecretScanner
from gru_complete.text.shards import ShardHeader, read_shard, write_shard
from gru_complete.text.tokenizer import Tokenizer
from gru_complete.training.batches import Batches, derived_seed, paragraph_ends
from gru_complete.training.events import CorpusRead, SecretsFound, Working
from gru_complete.training.exclusive import exclusive_use
from gru_complete.training.learner import Learner
from gru_complete.training.loop import TuningSplit
from gru_complete.training.refusals import (
    refuse_existing_model,
    refuse_foreign_model,
    refuse_foreign_run_dir,
    refuse_nested_paths,
)
from gru_complete.training.scoring import score_tokens
from gru_complete.training.tokenized_corpus import MIN_TOKENS, growing_shares, refuse_short_part, spooled

EPOCHS = 10  # the most; the end of the text stops sooner
LOOK_STEPS = 200  # the most updates between two looks at the end of the text
PATIENCE = 2  # looks at it without a gain
WARMUP_STEPS = 10
DROPOUT = 0.3
BATCH_SIZE = 8
# The end of the text stands for what the person writes next; slices from its midst would be predicted too well.
DATA = DataConfig(held_out=0.1, max_held_out_bytes=100_000, tuning=1e-6)
TRAINING = TrainingConfig(precision="float32", seq_len=64, learning_rate=3e-4, weight_decay=0)


@dataclass(frozen=True)
class AdaptationRequest:
    """What the user asked for.

    Args:
        sources: files, directories or "-".
        model: what learns; may be adapted already.
        target: where the adapted model goes, beside the one that it is based on.
        replace: whether a model there may be replaced.
        epochs: the most passes over the text.
        deadline: the ``time.monotonic()`` at which learning ends at the latest.
        redact: whether kinds in brackets are learnt in place of what looks secret.
        stdin: what "-" reads.
    """

    sources: Sequence[str]
    model: LoadedModel
    target: Path
    replace: bool
    epochs: int = EPOCHS
    deadline: float = float("inf")
    redact: bool = False
    stdin: BinaryIO | None = None


@dataclass(frozen=True)
class Learning:
    """After ``epochs`` passes over the text: bits per byte of the end kept apart."""

    epochs: float
    bits_per_byte: float


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Args:
        path: of the new model; None where nothing was gained, and so nothing written.
        bits_before: bits per byte of the end kept apart under the model as it was.
        bits_after: the same after learning.
        tuning_bytes: of that end.
        epochs: passes over the text that went into the new model.
        num_bytes: of the new model's directory.
        beginning: how a line or sentence of the text begins most often.
    """

    path: Path | None
    bits_before: float
    bits_after: float
    tuning_bytes: int
    epochs: float
    num_bytes: int
    beginning: str


Event = Working | CorpusRead | SecretsFound | Learning | Adapted


def adapt(request: AdaptationRequest, work_dir: Path, *, stop_signal: Callable[[], int | None]) -> Iterator[Event]:
    """Learn a text, and write what was gained beside the base.

    Args:
        request: what is to learn, and what.
        work_dir: an empty directory for the text; whoever made it removes it.
        stop_signal: the signal number once the user wants to stop; asked after every step.

    Raises:
        UsageError: the new model exists, or would not lie beside its base.
        CorpusError, ModelError, EnvironmentFailure: as their names say.
        BusyError: another process writes a model of this name.
        InterruptedRun: stopped by the signal, after writing what was gained until then.
    """
    base = _base_of(request.model)
    _check_places(request, base)
    with exclusive_use(RunDir.beside(Path(os.path.realpath(request.target)))):
        _check_places(request, base)  # again: another process may have written the model
        yield from _adapt_locked(request, base, work_dir, stop_signal)


def _adapt_locked(
    request: AdaptationRequest, base: LoadedModel, work_dir: Path, stop_signal: Callable[[], int | None]
) -> Iterator[Event]:
    """The stages of the work, in which no other process writes the new model."""
    tokenizer = request.model.tokenizer
    yield Working("reading the text")
    scanner = SecretScanner(redacts=request.redact)
    with spooled(
        request.sources,
        work_dir,
        DATA,
        stdin=request.stdin,
        scanner=scanner,
        normal_form=base.manifest.normal_form,
    ) as (spool_path, spool):
        yield CorpusRead(spool.report)
        if (secrets := scanner.report()).found:
            yield SecretsFound(secrets)
        stream, tuning = _read_parts(spool_path, spool, tokenizer, work_dir)
        beginning = units.find_units(corpus.read_blocks(spool_path, 0, spool.report.num_bytes)).beginning
    batches = Batches(stream, paragraph_ends(tokenizer, stream), BATCH_SIZE, TRAINING.seq_len, seed=0)
    learner = _learner(request.model)

    yield Working("learning")
    mixture = request.model.mixture
    bits_before = _bits_per_byte(learner, tuning, mixture)
    best_bits, best_weights, best_step = bits_before, None, 0
    looks_since_best = 0
    look_every = min(batches.steps_per_epoch, LOOK_STEPS)
    max_steps = request.epochs * batches.steps_per_epoch
    state = None
    for step in range(1, max_steps + 1):
        tokens, targets = batches.chunk(step)
        rate = TRAINING.learning_rate * min(1.0, step / WARMUP_STEPS)
        update = learner.update(
            tokens, targets, state, learning_rate=rate, dropout_seed=derived_seed(0, "dropout", step)
        )
        state = update.state if update.is_finite else None
        is_last = step == max_steps or stop_signal() is not None or time.monotonic() >= request.deadline
        if step % look_every and not is_last:
            continue
        bits = _bits_per_byte(learner, tuning, mixture)
        looks_since_best += 1
        if bits < best_bits:
            best_bits, best_weights, best_step, looks_since_best = bits, export_weights(learner.model), step, 0
        yield Learning(step / batches.steps_per_epoch, bits)
        if is_last or looks_since_best >= PATIENCE:
            break

    path, num_bytes = None, 0
    if best_weights is not None:
        delta = pack_delta(base.weights, best_weights)
        load_weights(learner.model, apply_delta(base.weights, delta, name=DELTA))
        best_bits = _bits_per_byte(learner, tuning, mixture)
        if best_bits < bits_before:
            path = request.target
            _write(request, base, delta, bits_before=bits_before, bits_after=best_bits, step=best_step)
            num_bytes = sum(file.stat().st_size for file in path.iterdir())
    if (number := stop_signal()) is not None:
        saved = f"what was learnt until then is in {printable(path)}" if path else "nothing was gained until then"
        raise InterruptedRun(f"interrupted; {saved}", signal_number=number)
    epochs = best_step / batches.steps_per_epoch
    yield Adapted(path, bits_before, best_bits, tuning.num_bytes, epochs, num_bytes, beginning)


def _base_of(model: LoadedModel) -> LoadedModel:
    """The model with weights of its own that this one is, or is based on."""
    if model.manifest.base is None:
        return model
    return load_model(Path(os.path.realpath(model.path)).with_name(model.manifest.base.name))


def _check_places(request: AdaptationRequest, base: LoadedModel) -> None:
    """Refuse, before any work, a place where the new model cannot be or would destroy something."""
    base_path, target = Path(os.path.realpath(base.path)), Path(os.path.realpath(request.target))
    if not is_model_name(base_path.name):
        message = f"a model named '{printable(base_path.name)}' cannot be adapted"
        raise UsageError(message, hint="rename it, using letters, digits, '-' and '_'")
    if target.parent != base_path.parent or target == base_path:
        message = f"the adapted model needs a place of its own beside {printable(base_path)}, whose weights it uses"
        raise UsageError(message, hint=f"give it one with -m, such as {printable(base_path)}-adapted")
    refuse_nested_paths(request.sources, (request.target,))
    run_dir = RunDir.beside(request.target)
    refuse_foreign_run_dir(run_dir)
    if run_dir.plan_path.exists():
        message = f"{printable(run_dir.path)} belongs to a training"
        raise UsageError(message, hint="give the adapted model another name with -m")
    refuse_foreign_model(request.target)
    if not request.replace:
        refuse_existing_model(request.target, is_adapted=True)


def _read_parts(
    spool_path: Path, spool: corpus.Spool, tokenizer: Tokenizer, work_dir: Path
) -> tuple[TokenIds, TuningSplit]:
    """The stream to learn from, and the end kept apart; a larger one of a small text."""
    headers: dict[Part, ShardHeader] = {}
    for share in growing_shares(DATA.held_out, rest=DATA.tuning):
        split = splitting.split(spool_path, spool, DATA.model_copy(update={"held_out": share}))
        halves: dict[Part, list[corpus.Range]] = {"training": split.training, "tuning": split.held_out}
        for name, ranges in halves.items():
            documents = (corpus.read_blocks(spool_path, *part) for part in ranges)
            path = work_dir / f"{name}.tokens"
            headers[name] = write_shard(path, documents, tokenizer, corpus_sha256=spool.report.sha256)
        if headers["tuning"].num_tokens >= MIN_TOKENS:
            break
    for name, header in headers.items():
        refuse_short_part(name, header, what="text")
    training, tuning = (np.array(read_shard(work_dir / f"{name}.tokens")[0]) for name in headers)
    return training, TuningSplit.fold(tuning, num_bytes=headers["tuning"].num_bytes)


def _bits_per_byte(learner: Learner, tuning: TuningSplit, mixture: NGramMixture | None) -> float:
    """What the end kept apart costs under the model as it is used, its counts mixed in."""
    scores = score_tokens(learner.model, tuning.rows, mixture=mixture, device=learner.device)
    return scores.total_nats / math.log(2) / tuning.num_bytes


def _learner(model: LoadedModel) -> Learner:
    network = LanguageModel(**model.manifest.arch._asdict(), dropout=DROPOUT)
    load_weights(network, model.weights)
    return Learner(network, TRAINING, torch.device("cpu"))


def _write(
    request: AdaptationRequest, base: LoadedModel, delta: Delta, *, bits_before: float, bits_after: float, step: int
) -> None:
    metrics = {"tuning_bits_per_byte": bits_after, "tuning_bits_per_byte_before": bits_before}
    if CHECK_THRESHOLD in base.manifest.metrics:
        metrics[CHECK_THRESHOLD] = base.manifest.metrics[CHECK_THRESHOLD]
    facts: dict[str, Any] = {"finished": True, "steps": step, "torch": torch.__version__}
    if base.manifest.normal_form is not None:
        facts["normal_form"] = base.manifest.normal_form
    with atomic.replace_directory(request.target) as directory:
        save_delta(directory, base=base, delta=delta, metrics=metrics, training=facts)
