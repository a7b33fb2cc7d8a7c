"""One training from the corpus to the model directory, whether started now or resumed after a kill.

The run directory ``NAME.run`` fills in this order, and each file is whole when it exists: the tokenizer and the token
streams, ``plan.json`` (from here on the run can be resumed), ``checkpoints/``, then the model directory ``NAME`` beside
it, and finally ``finished``.
"""

import importlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from gru_complete.config import Config
from gru_complete.errors import EnvironmentFailure, InterruptedRun, printable
from gru_complete.model.directory import ModelContents, save_model
from gru_complete.model.home import close_home, remember_last
from gru_complete.model.manifest import NGRAMS
from gru_complete.model.run_dir import RunDir
from gru_complete.ngrams.mixture import NGramMixture
from gru_complete.nn import bfloat16, kernel
from gru_complete.nn.language_model import LanguageModel, export_weights, load_weights
from gru_complete.storage import atomic
from gru_complete.text.secrets import SecretScanner
from gru_complete.training import events, resuming
from gru_complete.training.automatic import max_useful_steps
from gru_complete.training.base import AUTOMATIC, Prepared, Start, automatic_start, base_record, load_base
from gru_complete.training.batches import Batches, derived_seed, paragraph_ends
from gru_complete.training.checkpoint import CheckpointStore, LoopState
from gru_complete.training.device import choose_device, out_of_memory_hint, return_freed_memory
from gru_complete.training.events import Event
from gru_complete.training.exclusive import exclusive_use
from gru_complete.training.finishing import (
    Measure,
    fit_and_measure,
    load_the_better,
    measure_held_out,
)
from gru_complete.training.learner import Learner
from gru_complete.training.loop import TrainingLoop, TuningSplit
from gru_complete.training.metrics_log import MetricsLog
from gru_complete.training.mixing import count_training_split
from gru_complete.training.pace import make_pace
from gru_complete.training.plan import Plan, check_fits, describe_environment
from gru_complete.training.planning import make_plan
from gru_complete.training.refusals import (
    refuse_existing_model,
    refuse_foreign_model,
    refuse_foreign_run_dir,
    refuse_nested_paths,
)
from gru_complete.training.tokenized_corpus import (
    TokenizedCorpus,
    copy_tokenized_corpus,
    read_tokenized_corpus,
    spooled,
    tokenize_corpus,
)

CHECKPOINT_BYTES = 100_000_000  # a few checkpoints of a few million weights with two moments each


@dataclass(frozen=True)
class TrainingRequest:
    """What the user asked for.

    Args:
        sources: files, directories or "-".
        model_path: where the model goes; the run directory is beside it.
        config: settings, automatic values still open.
        replace: whether a finished model, or another unfinished run, may be replaced.
        started: ``time.monotonic()`` when the command began; the minutes count from then.
        stdin: what "-" reads.
        tokenized_dir: a directory that ``tokenize_corpus`` has filled from the same text, to be copied instead.
        is_remembered: whether the finished model becomes the default of other commands.
        measure: finds further figures of the model, from a few kilobytes of the tuning split.
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


@dataclass(frozen=True)
class Session:
    """What the steps of one session work with.

    Args:
        request: what the user asked for.
        run_dir: the run directory, locked.
        plan: what to do.
        corpus: the text.
        prepared: what there is before the first step.
        loop: the training loop, with the network.
    """

    request: TrainingRequest
    run_dir: RunDir
    plan: Plan
    corpus: TokenizedCorpus
    prepared: Prepared
    loop: TrainingLoop


class SessionTimes(NamedTuple):
    """How long the parts of a session took.

    Attributes:
        preparing_seconds: all before the first step.
        closing_started: the ``time.monotonic()`` after the last.
        counting_seconds: counting n-grams, if nothing else ran.
    """

    preparing_seconds: float
    closing_started: float
    counting_seconds: float


def run_training(request: TrainingRequest, *, stop_signal: Callable[[], int | None]) -> Generator[Event, None, None]:
    """Train and write a model, reporting every step of the way.

    Args:
        request: what to train on, and where to.
        stop_signal: the signal number once the user wants to stop; called after every step.

    Raises:
        UsageError: the model exists, or an unfinished run with another corpus or other settings does.
        CorpusError, ModelError, EnvironmentFailure, BusyError, DivergedError: as their names say.
        InterruptedRun: stopped by the signal, after saving.
    """
    run_dir = RunDir.beside(request.model_path)
    run_dir.refuse_link()
    with suppress(EnvironmentFailure):
        atomic.finish_removals(run_dir.path.parent)
    refuse_nested_paths(request.sources, (request.model_path, run_dir.path))
    refuse_foreign_model(request.model_path)
    refuse_foreign_run_dir(run_dir)
    with exclusive_use(run_dir):
        yield from _run_locked(request, run_dir, stop_signal)


def _run_locked(request: TrainingRequest, run_dir: RunDir, stop_signal: Callable[[], int | None]) -> Iterator[Event]:
    """The stages of a training, in the locked run directory."""
    # 1. Clean up after a kill, and see whether there is a run to resume.
    config = request.config
    if close_home(request.model_path):
        where = printable(request.model_path.parent)
        yield events.Note(f"{where} was open to other users of this machine; now it is for you alone")
    atomic.sweep_temporaries(run_dir.path)
    atomic.recover_directory(request.model_path)
    atomic.recover_directory(run_dir.path)
    device = choose_device(config.training.device)
    max_threads = torch.get_num_threads() if device.type == "cpu" else 1
    plan = resuming.unfinished_plan(run_dir, may_be_damaged=request.replace)
    if threads := config.training.threads or (plan and plan.config.training.threads):
        torch.set_num_threads(threads)
    if not request.replace and not (plan is not None and resuming.belongs_to_run(request.model_path, plan)):
        refuse_existing_model(request.model_path)

    # 2. Read the text, and cut it into tokens unless the run has them.
    plan, start = yield from _read_text(request, run_dir, plan, device)
    corpus = read_tokenized_corpus(run_dir)

    # 3. Count n-grams.
    counts = None
    counting_started = time.thread_time()  # which other processes do not use up
    if config.ngrams.order:
        yield events.Working("counting phrases")
        counts = count_training_split(corpus, config.ngrams, start.base)
    counting_seconds = time.thread_time() - counting_started

    # 4. Plan the steps.
    if compiler := kernel.hanging_compiler():
        yield events.Note(
            f"the C compiler {printable(compiler)} did not end within {kernel.COMPILE_SECONDS} s, "
            "without which training is slower"
        )
    if plan is None:
        yield events.Working("measuring the machine's speed")
        plan = make_plan(
            config, corpus, counts, start, started=request.started, counting_seconds=counting_seconds, device=device
        )
        return_freed_memory()
        atomic.write_file(run_dir.plan_path, plan.to_json())
    elif changes := _changes(plan.environment, describe_environment(device)):
        yield events.Note(f"resumed in another environment ({', '.join(changes)}): the last bits may differ")

    # 5. Train, and write the model.
    prepared = Prepared(start.base, counts)
    session, state, recurrent_state = yield from _set_up(request, run_dir, plan, corpus, prepared, device, max_threads)
    log, begun = MetricsLog(run_dir.metrics_path), time.monotonic()
    for event in session.loop.run(state, recurrent_state, should_stop=lambda: stop_signal() is not None):
        yield from log.write(event)
        yield event
    times = SessionTimes(begun - request.started, time.monotonic(), counting_seconds)
    yield from _finish(session, times, stop_signal)


def _get_ready(device: torch.device, config: Config) -> None:
    """Do what needs no text and takes seconds."""
    if device.type == "cpu" and config.model.cell == "gru":
        kernel.enable()
    bfloat16.is_available(device)
    importlib.import_module("torch._dynamo")  # the first optimizer would do it


@contextmanager
def _getting_ready(device: torch.device, config: Config) -> Iterator[None]:
    """``_get_ready`` in another thread while the block runs; if the block fails, nobody waits for the compiler."""
    try:
        with ThreadPoolExecutor(1) as other_thread:
            is_ready = other_thread.submit(_get_ready, device, config)
            try:
                yield
                is_ready.result()
            except BaseException:
                kernel.stop_compiling()
                raise
    finally:
        kernel.allow_compiling()  # for the next training in this process


def _read_text(
    request: TrainingRequest, run_dir: RunDir, plan: Plan | None, device: torch.device
) -> Generator[Event, None, tuple[Plan | None, Start]]:
    """Read the corpus; cut it into tokens in the run directory unless the plan there can be resumed.

    The tokenizer is trained in another process, unless it is the base's; meanwhile this one gets ready for the steps.

    Args:
        request: what the user asked for.
        run_dir: the run directory, locked.
        plan: of the unfinished run there.
        device: where training runs.

    Returns:
        The plan to resume, None for a new one; and what to start from.

    Raises:
        ModelError: the model to start from is missing or damaged.
        ConfigError: a setting would make another network than that of the model to start from.
        UsageError: there is a plan that cannot be resumed, and it must not be replaced.
    """
    data, base = request.config.data, load_base(request.config)
    is_automatic = request.config.training.base == AUTOMATIC
    yield events.Working("reading the corpus")
    scanner = SecretScanner(redacts=data.redact)
    with spooled(
        request.sources,
        run_dir.path,
        data,
        stdin=request.stdin,
        spare_bytes=CHECKPOINT_BYTES,
        scanner=scanner,
        normal_form=None if base is None or is_automatic else base.manifest.normal_form,
    ) as (spool_path, spool):
        yield events.CorpusRead(spool.report)
        if (secrets := scanner.report()).found:
            yield events.SecretsFound(secrets)
        sha256 = spool.report.sha256
        if plan is not None:
            if is_automatic and plan.base_sha256 is None:
                base = None
            fingerprint = None if base is None else base.fingerprint
            differences = resuming.differences(plan, request.config, sha256, fingerprint)
            if not differences:
                _get_ready(device, request.config)
                return plan, Start(base)
            if not request.replace:
                raise resuming.other_run_error(request.model_path, differences)
        resuming.clear(run_dir)
        start = Start(base)
        if is_automatic and base is not None:
            start = automatic_start(base, spool_path, spool.report.num_bytes)
        if request.tokenized_dir is None:
            tokenizer = None if start.base is None else start.base.tokenizer
            with _getting_ready(device, request.config):
                yield from tokenize_corpus(
                    run_dir, spool_path, spool, data, request.config.tokenizer, tokenizer=tokenizer
                )
        else:
            _get_ready(device, request.config)
            copy_tokenized_corpus(request.tokenized_dir, run_dir, corpus_sha256=sha256)
    return None, start


def _changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [f"{key}: {before.get(key)} -> {after[key]}" for key in after if after[key] != before.get(key)]


def _set_up(
    request: TrainingRequest,
    run_dir: RunDir,
    plan: Plan,
    corpus: TokenizedCorpus,
    prepared: Prepared,
    device: torch.device,
    max_threads: int,
) -> Generator[Event, None, tuple[Session, LoopState, torch.Tensor | None]]:
    """Make the network and load the newest checkpoint into it.

    Returns:
        The session, the state of the loop and the recurrent state of the rows, ``(L, S, B, H)``.
    """
    training = plan.config.training
    assert training.batch_size is not None  # the plan has filled it in
    started = time.monotonic()
    tokenizer, stream, header = corpus.tokenizer, corpus.streams["training"], corpus.headers["training"]
    check_fits(plan, vocab_size=tokenizer.vocab_size, num_tokens=len(stream))
    torch.manual_seed(derived_seed(training.seed, "initial weights"))
    with out_of_memory_hint():
        model = LanguageModel(tokenizer.vocab_size, **plan.config.model.model_dump()).to(device)
    if prepared.base is not None:
        load_weights(model, prepared.base.weights)
    learner = Learner(model, training, device)
    if training.precision == "bfloat16" and not bfloat16.is_available(device):
        yield events.Note("this machine cannot compute in bfloat16: training is in float32")
    batches = Batches(stream, paragraph_ends(tokenizer, stream), training.batch_size, training.seq_len, training.seed)
    tuning = TuningSplit.fold(corpus.streams["tuning"], num_bytes=corpus.headers["tuning"].num_bytes)
    atomic.make_directory(run_dir.checkpoints_dir)
    atomic.sweep_temporaries(run_dir.checkpoints_dir)
    store = CheckpointStore(run_dir.checkpoints_dir, tokenizer, corpus.text, training.batch_size)

    def facts(loop: LoopState) -> dict[str, Any]:
        return {
            "run_id": plan.run_id,
            "steps": loop.step,
            "finished": False,
            "num_training_tokens": len(stream),
            "num_training_bytes": header.num_bytes,
            **({} if corpus.normal_form is None else {"normal_form": corpus.normal_form}),
            "seconds": round(loop.step_seconds, 1),
            "torch": torch.__version__,
        }

    state, recurrent_state, notes = store.load_newest(learner)
    max_steps = max_useful_steps(batches, has_base=prepared.base is not None)
    pace = make_pace(plan, loop=state, max_steps=max_steps, max_threads=max_threads, started=started)
    yield from map(events.Note, notes)
    num_parameters = model.architecture.num_parameters
    yield events.Planned(plan, num_parameters, tokenizer.vocab_size, len(stream), header.num_bytes, state.step)
    loop = TrainingLoop(plan, pace, learner, batches, tuning, store, facts)
    return Session(request, run_dir, plan, corpus, prepared, loop), state, recurrent_state


def _finish(session: Session, times: SessionTimes, stop_signal: Callable[[], int | None]) -> Iterator[Event]:
    """Write the model, and say what it is worth.

    Raises:
        InterruptedRun: the steps were stopped before the last.
    """
    request, plan, corpus, loop = session.request, session.plan, session.corpus, session.loop
    last, _, _ = loop.store.load_newest(loop.learner)
    allowance = loop.pace.allowance()
    tuning_bits = load_the_better(loop.store, loop.learner, loop.tuning, last)
    if not last.is_complete and last.evaluations_since_best < plan.config.training.patience:
        number = stop_signal()
        assert number is not None
        raise _interrupted(session, last, tuning_bits, number)

    yield events.Working("measuring the model")
    mixture, metrics = fit_and_measure(
        plan.config,
        loop.learner,
        corpus,
        session.prepared,
        request.measure,
        allowance=allowance,
        counting_seconds=times.counting_seconds,
    )
    held_out = measure_held_out(corpus, loop.learner, mixture, allowance=allowance)
    metrics = {"tuning_bits_per_byte": tuning_bits} | metrics | held_out
    _write_model(session, mixture, metrics, {**loop.facts(last), "finished": True})
    atomic.write_file(session.run_dir.finished_path, b"")
    if request.is_remembered:
        try:
            remember_last(request.model_path)
        except EnvironmentFailure as error:
            yield events.Note(f"{error}; name the model with -m")
    now = time.monotonic()
    yield events.Finished(
        model_path=request.model_path,
        step=last.step,
        stopped_early=not last.is_complete,
        metrics=metrics,
        num_bytes=sum(path.stat().st_size for path in request.model_path.iterdir()),
        seconds=now - request.started,
        preparing_seconds=times.preparing_seconds,
        closing_seconds=now - times.closing_started,
        uses_network=mixture is None or not mixture.mixing.are_of_counts_alone,
        beginning=corpus.beginning,
    )


def _write_model(
    session: Session, mixture: NGramMixture | None, metrics: Mapping[str, float], facts: Mapping[str, Any]
) -> None:
    """Write the model directory, replacing an old one whole.

    Raises:
        EnvironmentFailure: the disk or a permission refused.
        ModelError: weights are not finite.
    """
    network, corpus, base = session.loop.learner.model, session.corpus, session.prepared.base
    contents = ModelContents(
        arch=network.architecture,
        weights=export_weights(network),
        tokenizer=corpus.tokenizer,
        metrics=metrics,
        training=facts,
        text=corpus.text,
        is_quantized=bool(session.plan.config.training.quantized),
        base=None if base is None else base_record(base),
    )
    with atomic.replace_directory(session.request.model_path) as directory:
        save_model(directory, contents, extra_files={} if mixture is None else {NGRAMS: mixture.to_bytes()})


def _interrupted(session: Session, last: LoopState, tuning_bits: float, signal_number: int) -> InterruptedRun:
    """The end of a session that was stopped: a usable model, unless a finished one is to be replaced by this run."""
    request, plan, loop = session.request, session.plan, session.loop
    message = f"interrupted at step {last.step} of {last.max_steps}; saved"
    if not request.model_path.exists() or resuming.belongs_to_run(request.model_path, plan):
        mixture, metrics = fit_and_measure(plan.config, loop.learner, session.corpus, session.prepared)
        metrics = {"tuning_bits_per_byte": tuning_bits} | metrics
        _write_model(session, mixture, metrics, loop.facts(last))
        message += f", and {printable(request.model_path)} can be used"
    return InterruptedRun(message, signal_number=signal_number, hint="run the same command again to resume")
