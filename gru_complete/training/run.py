"""One training from the corpus to the model directory, whether begun now or gone on with after a kill.

The run directory ``NAME.run`` fills in this order, and each file is whole when it is there: the tokenizer and the
shards, ``plan.json`` (from here on the run can be resumed), ``checkpoints/``, then the model directory ``NAME`` beside
it, and ``finished`` at last.
"""

import ctypes
import dataclasses
import gc
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from gru_complete.arrays import TokenIds
from gru_complete.config import Config
from gru_complete.errors import EnvironmentFailure, GruCompleteError, InterruptedRun, ModelError, UsageError, printable
from gru_complete.model.directory import LoadedModel, ModelContents, load_model, save_model
from gru_complete.model.home import remember_last
from gru_complete.model.manifest import NGRAMS, Manifest
from gru_complete.model.run_dir import Part, RunDir
from gru_complete.ngrams.counts import NGrams
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn import bfloat16, kernel
from gru_complete.nn.language_model import LanguageModel, export_weights, load_weights
from gru_complete.storage import atomic, lock
from gru_complete.text.secrets import SecretScanner
from gru_complete.text.shards import documents
from gru_complete.text.xz import CONTEXT_BYTES, xz_bits_per_byte
from gru_complete.training import events, loop
from gru_complete.training.batches import Batches, derived_seed, paragraph_ends
from gru_complete.training.checkpoint import CheckpointStore, LoopState
from gru_complete.training.device import choose_device, out_of_memory_hint
from gru_complete.training.events import Event
from gru_complete.training.learner import Learner
from gru_complete.training.mixing import ADAPTING_TOKENS, MAX_SCORES, beginnings, count, make_mixture
from gru_complete.training.plan import Plan, describe_environment, make_plan, read_plan
from gru_complete.training.refusals import (
    refuse_existing_model,
    refuse_foreign_directory,
    refuse_foreign_model,
    refuse_nested_paths,
)
from gru_complete.training.scoring import score_tokens
from gru_complete.training.tokenized_corpus import (
    TokenizedCorpus,
    copy_tokenized_corpus,
    read_tokenized_corpus,
    spooled,
    tokenize_corpus,
)

METRICS_EVERY = 10
REPORT_TOKENS = 30_000  # of the held-out part, for the line at the end; `eval` scores all of it
TRIED_TOKENS = 1000  # to know how long the end will take
MEASURED_BYTES = 4_000  # of the tuning part, for what else is to be known of the model
MEASURING_SECONDS = 4.0  # that takes, about
CLOSING_SECONDS = 1.5  # writing the model, leaving Python
CHECKPOINT_BYTES = 100_000_000  # a few checkpoints of a few million weights with two moments each
# Settings that may differ when a run is resumed: they say how or where it runs, not what comes out.
RESUMABLE_OVERRIDES = ("device", "threads")


Measure = Callable[[LoadedModel, Sequence[str]], Mapping[str, float]]
"""Finds figures of a model and documents that neither its network nor its counts have seen, if they say enough."""


@dataclass(frozen=True)
class TrainingRequest:
    """What the user asked for.

    Args:
        sources: files, directories or "-".
        model_path: where the model goes; the run directory lies beside it.
        config: settings, automatic values still open.
        replace: whether a finished model, or another unfinished run, may be replaced.
        started: ``time.monotonic()`` when the command began; the minutes count from there.
        stdin: what "-" reads.
        tokenized_dir: a directory that ``tokenize_corpus`` has filled from the same text, to be copied instead.
        is_remembered: whether the model, once finished, is the one that other commands take by default.
        measure: what else is to be known of the model, from about ``MEASURED_BYTES`` of the tuning part.
    """

    sources: Sequence[str]
    model_path: Path
    config: Config
    _: KW_ONLY
    replace: bool = False
    started: float
    stdin: BinaryIO | None = None
    tokenized_dir: RunDir | None = None
    is_remembered: bool = True
    measure: Measure | None = None


def run_training(request: TrainingRequest, *, stop_signal: Callable[[], int | None]) -> Generator[Event, None, None]:
    """Train and write a model, telling each step of the way.

    Args:
        request: what to train on, and where to.
        stop_signal: the signal number once the user wants to stop; asked after every step.

    Raises:
        UsageError: the model exists, or an unfinished run of another corpus or other settings does.
        CorpusError, ModelError, EnvironmentFailure, BusyError, DivergedError: as their names say.
        InterruptedRun: stopped by the signal, after saving.
    """
    run_dir = RunDir.beside(request.model_path)
    refuse_nested_paths(request.sources, (request.model_path, run_dir.path))
    refuse_foreign_model(request.model_path)
    refuse_foreign_directory(run_dir.path, marker=lock.LOCK_FILE)
    is_new = not run_dir.path.exists()
    try:
        atomic.make_directory(run_dir.path)
        with lock.DirectoryLock(run_dir.path):
            yield from _run_locked(request, run_dir, stop_signal)
    except BaseException:
        if is_new:
            _remove_unless_begun(run_dir)
        raise


def _remove_unless_begun(run_dir: RunDir) -> None:
    """Remove a run directory in which nothing could be gone on with, unless another process has it by now."""
    with suppress(GruCompleteError), lock.DirectoryLock(run_dir.path):
        if not run_dir.plan_path.exists():
            atomic.remove_directory(run_dir.path)


def _run_locked(request: TrainingRequest, run_dir: RunDir, stop_signal: Callable[[], int | None]) -> Iterator[Event]:
    config = request.config
    atomic.sweep_temporaries(run_dir.path)
    atomic.recover_directory(request.model_path)
    device = choose_device(config.training.device)
    plan = _unfinished_plan(run_dir, may_be_damaged=request.replace)
    if threads := config.training.threads or (plan and plan.config.training.threads):
        torch.set_num_threads(threads)
    _refuse_to_overwrite(request, plan)

    yield events.Working("reading the corpus")
    scanner = SecretScanner(redacts=config.data.redact)
    with spooled(
        request.sources, run_dir.path, config.data, stdin=request.stdin, spare_bytes=CHECKPOINT_BYTES, scanner=scanner
    ) as (spool_path, spool):
        yield events.CorpusRead(spool.report)
        if (secrets := scanner.report()).found:
            yield events.SecretsFound(secrets)
        if plan is not None and not _is_same_run(plan, request, spool.report.sha256):
            plan = None  # with --replace, as _is_same_run has made sure
        if plan is None:
            _clear(run_dir)
            if request.tokenized_dir is None:
                yield from tokenize_corpus(run_dir, spool_path, spool, config.data, config.tokenizer)
            else:
                copy_tokenized_corpus(request.tokenized_dir, run_dir, corpus_sha256=spool.report.sha256)
    prepared = read_tokenized_corpus(run_dir)
    counts = None
    start = time.monotonic()
    if config.ngrams.order:
        yield events.Working("counting phrases")
        counts = _count(config, prepared, "training")
    counting_seconds = time.monotonic() - start

    if device.type == "cpu" and config.model.cell == "gru":
        kernel.enable()
    if plan is None:
        yield events.Working("measuring the machine's speed")
        closing = CLOSING_SECONDS + counting_seconds
        if config.training.steps is None:
            closing += _closing_seconds(prepared, counts, config, device)
            if request.measure is not None:
                closing += MEASURING_SECONDS * min(1.0, prepared.headers["tuning"].num_bytes / MEASURED_BYTES)
        plan = _make_plan(request, prepared, spool.report.sha256, device, closing)
        _give_back_memory()
        atomic.write_file(run_dir.plan_path, plan.to_json())
    elif (here := describe_environment(device)) != plan.environment:
        changed = [
            f"{key}: {plan.environment.get(key)} -> {here[key]}"
            for key in here
            if here[key] != plan.environment.get(key)
        ]
        yield events.Note(f"resumed on another set-up ({', '.join(changed)}): the last bits may differ")
    yield from _train(request, run_dir, plan, prepared, counts, device, stop_signal)


def _make_plan(
    request: TrainingRequest, prepared: TokenizedCorpus, corpus_sha256: str, device: torch.device, closing: float
) -> Plan:
    stream = prepared.streams["training"]
    return make_plan(
        request.config,
        stream=stream,
        ends_paragraph=paragraph_ends(prepared.tokenizer, stream),
        vocab_size=prepared.tokenizer.vocab_size,
        num_bytes=prepared.headers["training"].num_bytes,
        deadline=request.started + request.config.training.minutes * 60 - closing,
        corpus_sha256=corpus_sha256,
        device=device,
    )


def _unfinished_plan(run_dir: RunDir, *, may_be_damaged: bool) -> Plan | None:
    if not run_dir.is_resumable():
        return None
    try:
        return read_plan(run_dir)
    except ModelError as error:
        if may_be_damaged:
            return None
        raise ModelError(str(error), hint="start anew with --replace") from None


def _belongs_to_run(model_path: Path, plan: Plan) -> bool:
    """Whether the model is what this run left when it was interrupted, or killed just before its end."""
    try:
        return load_model(model_path).manifest.training.get("run_id") == plan.run_id
    except ModelError:
        return False


def _refuse_to_overwrite(request: TrainingRequest, plan: Plan | None) -> None:
    if request.replace or (plan is not None and _belongs_to_run(request.model_path, plan)):
        return
    refuse_existing_model(request.model_path)


def _is_same_run(plan: Plan, request: TrainingRequest, corpus_sha256: str) -> bool:
    """Whether the unfinished run can be gone on with; if not, only --replace may throw it away."""
    differences = _setting_differences(plan.requested, request.config)
    if plan.corpus_sha256 != corpus_sha256 and plan.requested.data.redact == request.config.data.redact:
        differences.insert(0, "the corpus")
    if differences and not request.replace:
        message = f"an unfinished run of {printable(request.model_path)} has other settings: {', '.join(differences)}"
        raise UsageError(message, hint="go on with the same corpus and settings, start anew with --replace, or use -m")
    return not differences


def _setting_differences(old: Config, new: Config) -> list[str]:
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    return [
        f"{section}.{key} ({before[section][key]} -> {value})"
        for section, values in after.items()
        for key, value in values.items()
        if before[section][key] != value and key not in RESUMABLE_OVERRIDES
    ]


def _clear(run_dir: RunDir) -> None:
    """Remove what another run has left, the plan first, so that a kill on the way leaves nothing to resume."""
    for path in (run_dir.plan_path, run_dir.finished_path, run_dir.metrics_path, run_dir.part_path("held_out")):
        atomic.remove_file(path)
    if run_dir.checkpoints_dir.exists():
        atomic.remove_directory(run_dir.checkpoints_dir)


def _count(config: Config, prepared: TokenizedCorpus, *parts: Part) -> NGrams:
    """The counts of these parts of the text."""
    streams = [prepared.streams[part] for part in parts]
    num_bytes = sum(prepared.headers[part].num_bytes for part in parts)
    _give_back_memory()
    counts = count(streams, prepared.tokenizer, config.ngrams, num_bytes=num_bytes)
    _give_back_memory()
    return counts


def _give_back_memory() -> None:
    """Make glibc return what was freed, hundreds of MB where it was much at a time; elsewhere this does nothing."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _closing_seconds(prepared: TokenizedCorpus, counts: NGrams | None, config: Config, device: torch.device) -> float:
    """What follows the last step: fitting the gate and the line at the end, from short tries with a middling model."""
    model = LanguageModel(prepared.tokenizer.vocab_size, embedding_size=256, hidden_size=384).to(device)
    seconds, mixture = 0.0, None
    if counts is not None:
        tuning = prepared.streams["tuning"]
        tries: dict[int, float] = {}
        few, many = TRIED_TOKENS // 5, TRIED_TOKENS
        for num_tokens in (few, few, many):  # the very first is slow
            sample: TokenIds = np.asarray(tuning[:num_tokens])
            start = time.monotonic()
            mixture = make_mixture(model, counts, sample, config.ngrams, device=device)
            tries[num_tokens] = time.monotonic() - start
        tokens = min(len(tuning), max(MAX_SCORES // counts.vocab_size, ADAPTING_TOKENS))
        seconds += tries[many] + max(0.0, tries[many] - tries[few]) / (many - few) * max(0, tokens - many)
    if "held_out" in prepared.streams:
        stream = np.asarray(prepared.streams["held_out"][:REPORT_TOKENS], dtype=np.int64)
        start = time.monotonic()
        score_tokens(model, [stream[:TRIED_TOKENS]], mixture=mixture, device=device)
        seconds += (time.monotonic() - start) / min(TRIED_TOKENS, len(stream)) * len(stream) + 1.0  # and xz
    return seconds


def _train(
    request: TrainingRequest,
    run_dir: RunDir,
    plan: Plan,
    prepared: TokenizedCorpus,
    counts: NGrams | None,
    device: torch.device,
    stop_signal: Callable[[], int | None],
) -> Iterator[Event]:
    training = plan.config.training
    assert training.batch_size is not None  # the plan has filled it in
    tokenizer, stream = prepared.tokenizer, prepared.streams["training"]
    torch.manual_seed(derived_seed(training.seed, "initial weights"))
    with out_of_memory_hint():
        model = LanguageModel(tokenizer.vocab_size, **plan.config.model.model_dump()).to(device)
    learner = Learner(model, training, device)
    if training.precision == "bfloat16" and not bfloat16.is_available(device):
        yield events.Note("this machine has nothing to compute in bfloat16 with: training is in float32")
    batches = Batches(stream, paragraph_ends(tokenizer, stream), training.batch_size, training.seq_len, training.seed)
    tuning = loop.TuningSplit.fold(prepared.streams["tuning"], num_bytes=prepared.headers["tuning"].num_bytes)
    atomic.make_directory(run_dir.checkpoints_dir)
    atomic.sweep_temporaries(run_dir.checkpoints_dir)
    store = CheckpointStore(run_dir.checkpoints_dir, tokenizer, prepared.abbreviations)

    def facts(state: LoopState) -> dict[str, Any]:
        return {
            "run_id": plan.run_id,
            "steps": state.step,
            "finished": False,
            "num_training_tokens": len(stream),
            "num_training_bytes": prepared.headers["training"].num_bytes,
            "seconds": round(state.step_seconds, 1),
            "torch": torch.__version__,
        }

    start, state, notes = store.load_newest(learner)
    yield from map(events.Note, notes)
    num_parameters = model.architecture.num_parameters
    yield events.Planned(
        plan, num_parameters, tokenizer.vocab_size, len(stream), prepared.headers["training"].num_bytes, start.step
    )
    log = MetricsLog(run_dir.metrics_path)
    for event in loop.steps(
        plan, learner, batches, tuning, store, start, state, should_stop=lambda: stop_signal() is not None, facts=facts
    ):
        yield from log.write(event)
        yield event

    final, _, _ = store.load_newest(learner)
    is_done = final.step >= final.max_steps or final.looks_since_best >= training.patience
    tuning_bits = _take_the_better(store, learner, tuning, final)
    if not is_done:
        number = stop_signal()
        assert number is not None
        message = f"interrupted at step {final.step} of {final.max_steps}; saved"
        if not request.model_path.exists() or _belongs_to_run(request.model_path, plan):
            mixture, metrics = _remember(plan.config, learner, prepared, counts)
            metrics = {"tuning_bits_per_byte": tuning_bits} | metrics
            _export(request, learner, prepared, mixture, metrics, facts(final))
            message += f", and {printable(request.model_path)} can be used"
        raise InterruptedRun(message, signal_number=number, hint="run the same command again to resume")
    yield events.Working("measuring the model")
    mixture, metrics = _remember(plan.config, learner, prepared, counts, request.measure)
    metrics = {"tuning_bits_per_byte": tuning_bits} | metrics | _held_out_metrics(prepared, learner, mixture)
    _export(request, learner, prepared, mixture, metrics, {**facts(final), "finished": True})
    atomic.write_file(run_dir.finished_path, b"")
    if request.is_remembered:
        try:
            remember_last(request.model_path)
        except EnvironmentFailure as error:
            yield events.Note(f"{error}; name the model with -m")
    yield events.Finished(
        model_path=request.model_path,
        step=final.step,
        stopped_early=final.step < final.max_steps,
        metrics=metrics,
        num_bytes=sum(path.stat().st_size for path in request.model_path.iterdir()),
        seconds=time.monotonic() - request.started,
    )


def _take_the_better(store: CheckpointStore, learner: Learner, tuning: loop.TuningSplit, final: LoopState) -> float:
    """Leave the better of the last and the best checkpoint in the learner; its bits per byte of the tuning part."""
    _, last_bits = tuning.score(learner)
    if final.best_step in (0, final.step) or final.best_step not in store.steps():
        return last_bits
    last_weights = export_weights(learner.model)
    try:
        store.load(final.best_step, learner)
    except ModelError:
        return last_bits
    _, best_bits = tuning.score(learner)
    if best_bits <= last_bits:
        return best_bits
    load_weights(learner.model, last_weights)
    return last_bits


def _remember(
    config: Config, learner: Learner, prepared: TokenizedCorpus, counts: NGrams | None, measure: Measure | None = None
) -> tuple[NGramMixture | None, dict[str, float]]:
    """The memory that goes with the network, and what is known of the tuning part with it.

    The counts take in the tuning part after the gate was fitted on it. ``tuning_bits_per_byte`` comes from its first
    ``ADAPTING_TOKENS`` tokens, before that but with the gate fitted there: unlike ``held_out_bits_per_byte``, it is
    not of text that nothing was fitted on.
    """
    if counts is None:
        return None, _measured(measure, learner, prepared, None)
    tuning = prepared.streams["tuning"]
    mixture = make_mixture(learner.model, counts, tuning, config.ngrams, device=learner.device)
    sample: TokenIds = np.asarray(tuning[:ADAPTING_TOKENS])
    scores = score_tokens(learner.model, documents(sample), mixture=mixture, device=learner.device)
    bits = scores.total_nats / np.log(2) / len(prepared.tokenizer.decode(sample.tolist()))
    metrics = {"tuning_bits_per_byte": bits} | _measured(measure, learner, prepared, mixture)
    whole = _count(config, prepared, "training", "tuning")
    return mixture._replace(ngrams=whole), metrics


def _measured(
    measure: Measure | None, learner: Learner, prepared: TokenizedCorpus, mixture: NGramMixture | None
) -> dict[str, float]:
    """What else is to be known of the model, as it is before its counts take in the tuning part."""
    if measure is None:
        return {}
    manifest = Manifest(
        learner.model.architecture, {"abbreviations": prepared.abbreviations}, {}, {}, files={}, tool_version=""
    )
    weights, tokenizer = export_weights(learner.model), prepared.tokenizer
    model = LoadedModel(Path(), manifest, weights, tokenizer, fingerprint="", mixture=mixture)
    tuning, header = prepared.streams["tuning"], prepared.headers["tuning"]
    sample = beginnings(documents(np.asarray(tuning)), 1 + MEASURED_BYTES * len(tuning) // header.num_bytes)
    texts = [tokenizer.decode(document.tolist()).decode(errors="ignore") for document in sample]
    return dict(measure(model, [text.rpartition(" ")[0] for text in texts]))  # the last word may be cut


def _held_out_metrics(prepared: TokenizedCorpus, learner: Learner, mixture: NGramMixture | None) -> dict[str, float]:
    """Bits per byte on the first ``REPORT_TOKENS`` of the held-out part: of the model, the counts alone and xz."""
    if "held_out" not in prepared.streams:
        return {}
    stream = np.asarray(prepared.streams["held_out"][:REPORT_TOKENS], dtype=np.int64)
    tokenizer = prepared.tokenizer
    text = tokenizer.decode(stream.tolist())
    context = tokenizer.decode(prepared.streams["training"][-CONTEXT_BYTES // 2 :].tolist())
    scores = score_tokens(learner.model, documents(stream), mixture=mixture, device=learner.device)
    return {
        "held_out_bits_per_byte": scores.total_nats / np.log(2) / len(text),
        "held_out_bytes": len(text),
        **(
            {}
            if mixture is None
            else {"ngrams_bits_per_byte": mixture.ngrams.total_nats(stream) / np.log(2) / len(text)}
        ),
        "xz_bits_per_byte": xz_bits_per_byte(context, text),
    }


def _export(
    request: TrainingRequest,
    learner: Learner,
    prepared: TokenizedCorpus,
    mixture: NGramMixture | None,
    metrics: dict[str, float],
    facts: dict[str, Any],
) -> None:
    with atomic.replace_directory(request.model_path) as directory:
        save_model(
            directory,
            ModelContents(
                arch=learner.model.architecture,
                weights=export_weights(learner.model),
                tokenizer=prepared.tokenizer,
                metrics=metrics,
                training=facts,
                abbreviations=prepared.abbreviations,
            ),
            extra_files={} if mixture is None else {NGRAMS: mixture.to_bytes()},
        )


class MetricsLog:
    """Appends to ``metrics.jsonl``; training never dies for its log, but says once that there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_broken = False

    def write(self, event: Event) -> Iterator[Event]:
        """Log a step now and then, and every look and change of plan."""
        if self.is_broken or not isinstance(
            event, events.Stepped | events.Evaluated | events.Replanned | events.RolledBack
        ):
            return
        if isinstance(event, events.Stepped) and event.step % METRICS_EVERY:
            return
        fields = {key: value for key, value in dataclasses.asdict(event).items() if not isinstance(value, Path)}
        try:
            atomic.append_line(self.path, json.dumps({"event": event.log_name, **fields}))
        except EnvironmentFailure as error:
            self.is_broken = True
            yield events.Note(f"no more {self.path.name}: {error}")
