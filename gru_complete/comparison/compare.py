"""Cells trained on the same text under the same budget, and measured in the same way.

What is the same for all: the text, its split and its tokens, the seed, batches, dropout and the other settings; the
counts are left out. What else is the same is chosen (``MATCHES``): the width, or the number of parameters, and then the
number of updates, so that all have read the same text; or the width and the minutes, so that a quick cell reads more.

The comparison's directory holds ``compare.json`` (the request and the resolved settings, written before any training),
``text`` (the tokens that all share), and for each cell an ordinary model with its run directory and
``CELL.figures.json`` (what was measured of it). All of it can be gone on with after a kill.
"""

from __future__ import annotations

import json
import math
import os
import stat
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gru_complete.comparison.recall import RecallStep, tasks, train_recall
from gru_complete.comparison.speeds import completion_speeds, training_speeds
from gru_complete.config import Config
from gru_complete.errors import CorpusError, DivergedError, GruCompleteError, ModelError, UsageError, printable
from gru_complete.evaluation.gradients import GradientFlow, gradient_flow
from gru_complete.evaluation.pairs import Pair, PairScore, PairsReport, score_pairs
from gru_complete.evaluation.report import evaluate, network_from_model, read_held_out
from gru_complete.model.architecture import Architecture
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.nn import kernel
from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.nn.language_model import LanguageModel
from gru_complete.storage import atomic, lock, untrusted
from gru_complete.text.corpus import CorpusReport
from gru_complete.training import automatic, events, planning, probe
from gru_complete.training.batches import Batches, derived_seed, paragraph_ends
from gru_complete.training.curve import EvaluationPoint, read_curve
from gru_complete.training.device import choose_device
from gru_complete.training.plan import read_plan
from gru_complete.training.refusals import refuse_nested_paths
from gru_complete.training.run import (
    TrainingRequest,
    run_training,
)
from gru_complete.training.tokenized_corpus import (
    TokenizedCorpus,
    read_tokenized_corpus,
    spooled,
    tokenize_corpus,
)

CELLS = ("rnn", "gru-simple", "gru", "gru-reset-after", "lstm")
MATCHES = ("width", "parameters", "time")
REFERENCE_CELL = "gru"  # whose number of parameters the others get, where it is matched
SETTINGS_FILE = "compare.json"
MAX_FILE_BYTES = 10_000_000
MIN_FAR_WORDS = 20  # between cue and word: from this distance on, a pair counts as far


@dataclass(frozen=True)
class ComparisonRequest:
    """What the user asked for.

    Args:
        sources: files and directories, which are read once for each cell.
        directory: where the comparison is kept.
        config: settings of all; its cell is none of them, its counts are left out.
        cells: which to compare, in this order.
        match: one of ``MATCHES``.
        pairs: minimal pairs, if any.
        recall_length: how many steps to copy over; None: that task is left out.
        recall_seconds: how long each cell is trained on it at most.
        replace: whether another comparison there is thrown away.
    """

    sources: Sequence[str]
    directory: Path
    config: Config
    cells: Sequence[str] = CELLS
    match: str = "width"
    pairs: Sequence[Pair] = ()
    recall_length: int | None = None
    recall_seconds: float = 180.0
    replace: bool = False


@dataclass(frozen=True)
class ResolvedSettings:
    """What is the same for all cells, and the sizes of each.

    Args:
        corpus_sha256: which text.
        requested: match and settings as asked for, by which the comparison is known again.
        config: the settings of every cell but for its name, width and threads.
        hidden_sizes: H by cell, of all there are.
        vocab_size: V.
    """

    corpus_sha256: str
    requested: dict[str, Any]
    config: Config
    hidden_sizes: dict[str, int]
    vocab_size: int

    def architecture(self, cell: str) -> Architecture:
        """Cell and sizes of the network with this cell."""
        model = self.config.model
        assert model.embedding_size is not None
        return Architecture(cell, self.vocab_size, model.embedding_size, self.hidden_sizes[cell], model.num_layers)

    def to_json(self) -> bytes:
        """As ``compare.json`` keeps it."""
        fields = asdict(self) | {"config": self.config.model_dump(mode="json")}
        return json.dumps(fields, indent=1, sort_keys=True).encode()


@dataclass(frozen=True)
class CellResult:
    """What came out for one cell; where training diverged there is only that.

    Args:
        cell: its name.
        hidden_size: H.
        num_parameters: of the network.
        num_cell_parameters: of the cells in it, without vectors of tokens and projection.
        steps: updates made.
        training_tokens_per_second: read in training, without looks and saves; see ``training_speeds``.
        completion_tokens_per_second: of the runtime, one token after the other; see ``completion_speeds``.
        bits_per_byte: of the held-out part under the network alone; of the tuning part where nothing was held out.
        num_bytes: of that part.
        at_start: gradient flow in the network as its training began.
        trained: gradient flow at the end; both None where the text is too short for it.
        pairs: as in ``eval --json``, and ``far``, of at least ``MIN_FAR_WORDS`` words; None without pairs.
        recall: as in ``recall --json``; None where it was not asked for.
        looks: bits per byte of the tuning part on the way.
        diverged: what happened, where no model came out.
    """

    cell: str
    hidden_size: int
    num_parameters: int
    num_cell_parameters: int
    steps: int = 0
    training_tokens_per_second: float = math.nan
    completion_tokens_per_second: float = math.nan
    bits_per_byte: float = math.nan
    num_bytes: int = 0
    at_start: GradientFlow | None = None
    trained: GradientFlow | None = None
    pairs: Mapping[str, Any] | None = None
    recall: Mapping[str, Any] | None = None
    looks: Sequence[EvaluationPoint] = ()
    diverged: str | None = None

    def to_json(self) -> dict[str, Any]:
        """One of ``cells`` in ``compare --json``."""
        record: dict[str, Any] = {
            "cell": self.cell,
            "hidden_size": self.hidden_size,
            "parameters": self.num_parameters,
            "cell_parameters": self.num_cell_parameters,
        }
        if self.diverged is not None:
            return record | {"diverged": self.diverged}
        flows = {"at_start": self.at_start, "trained": self.trained}
        return record | {
            "steps": self.steps,
            "training_tokens_per_second": self.training_tokens_per_second,
            "completion_tokens_per_second": self.completion_tokens_per_second,
            "bits_per_byte": self.bits_per_byte,
            "num_bytes": self.num_bytes,
            "gradient_flow": {name: None if flow is None else flow.to_json() for name, flow in flows.items()},
            "pairs": self.pairs,
            "recall": self.recall,
            "looks": [asdict(look) for look in self.looks],
        }


@dataclass(frozen=True)
class CellStarted:
    """The training of a cell begins, or it is gone on with; ``number`` counts from 1."""

    cell: str
    number: int
    num_cells: int


@dataclass(frozen=True)
class CellTrained:
    """The training of a cell has ended, now or long ago."""

    cell: str


@dataclass(frozen=True)
class RecallProgress:
    """How far the training of a cell for the recall task is; ``seconds`` is the most that it may take."""

    cell: str
    seconds: float
    progress: RecallStep


@dataclass(frozen=True)
class CellsCompared:
    """All is measured."""

    settings: ResolvedSettings
    results: list[CellResult]


CompareEvent = events.Event | CellStarted | CellTrained | RecallProgress | CellsCompared


def compare(request: ComparisonRequest, *, stop_signal: Callable[[], int | None]) -> Iterator[CompareEvent]:
    """Train what is not trained yet, and measure.

    A stop signal is only asked for while a cell is trained, from ``events.Planned`` to ``CellTrained``.

    Raises:
        UsageError: another comparison is there; the text cannot be read more than once.
        CorpusError, ModelError, EnvironmentFailure, BusyError: as their names say.
        InterruptedRun: stopped by the signal, after saving.
    """
    directory = request.directory
    _refuse_what_is_read_once(request.sources)
    refuse_nested_paths(request.sources, (directory,))
    if directory.exists() and not (directory / lock.LOCK_FILE).is_file():
        message = f"{printable(directory)} exists and is no comparison"
        raise UsageError(message, hint="give the comparison another place with -m")
    is_new = not directory.exists()
    atomic.make_directory(directory)
    try:
        with lock.DirectoryLock(directory):
            yield from _compare_locked(request, stop_signal)
    except BaseException:
        if is_new and not (directory / SETTINGS_FILE).exists():  # nothing that could be gone on with
            with suppress(GruCompleteError):
                atomic.remove_directory(directory)
        raise


def _compare_locked(request: ComparisonRequest, stop_signal: Callable[[], int | None]) -> Iterator[CompareEvent]:
    directory, max_threads = request.directory, torch.get_num_threads()
    atomic.sweep_temporaries(directory)
    settings = yield from _settle(request)
    diverged: dict[str, str] = {}
    for number, cell in enumerate(request.cells, start=1):
        yield CellStarted(cell, number, len(request.cells))
        torch.set_num_threads(max_threads)  # a training may have chosen fewer
        try:
            yield from _train(request, settings, cell, stop_signal)
        except DivergedError as error:
            diverged[cell] = str(error)
            yield events.Note(f"{cell}: {error}")
        yield CellTrained(cell)
    torch.set_num_threads(max_threads)
    results = []
    for cell in request.cells:
        if cell in diverged:
            results.append(CellResult(**_sizes(settings, cell), diverged=diverged[cell]))
        else:
            yield events.Working(f"measuring {cell}")
            results.append((yield from _measure(request, settings, cell)))
    yield events.Working("measuring speeds")
    trained = [cell for cell in request.cells if cell not in diverged]
    completing = completion_speeds({cell: load_model(directory / cell) for cell in trained})
    plans = {cell: read_plan(RunDir.beside(directory / cell)) for cell in trained}
    training = training_speeds(plans, RunDir(directory / "text"))
    torch.set_num_threads(max_threads)
    for index, result in enumerate(results):
        if result.cell in completing:
            results[index] = replace(
                result,
                training_tokens_per_second=training[result.cell],
                completion_tokens_per_second=completing[result.cell],
            )
    yield CellsCompared(settings, results)


def _refuse_what_is_read_once(sources: Sequence[str]) -> None:
    for source in sources:
        with suppress(OSError):
            if source == "-" or stat.S_ISFIFO(os.stat(source).st_mode):
                raise UsageError("a comparison reads its text once for each cell", hint="put the text into a file")


def _settle(request: ComparisonRequest) -> Generator[events.Event, None, ResolvedSettings]:
    """Find what is the same for all, in the directory or from text and machine."""
    directory, text_dir = request.directory, RunDir(request.directory / "text")
    requested = {"match": request.match, "config": _without_how_it_runs(request.config)}
    yield events.Working("reading the corpus")
    with spooled(request.sources, directory, request.config.data, stdin=None) as (spool_path, spool):
        report: CorpusReport = spool.report
        yield events.CorpusRead(report)
        found = _read_settings(directory, is_to_be_replaced=request.replace)
        if found is not None:
            differences = [] if found.corpus_sha256 == report.sha256 else ["another corpus"]
            differences += [] if found.requested == requested else ["other settings"]
            if not differences:
                return found
            if not request.replace:
                message = f"the comparison {printable(directory)} is of {' and '.join(differences)}"
                raise UsageError(message, hint="begin it anew with --replace, or give this one another name with -m")
        _clear(directory)
        atomic.make_directory(text_dir.path)
        yield from tokenize_corpus(text_dir, spool_path, spool, request.config.data, request.config.tokenizer)
    prepared = read_tokenized_corpus(text_dir)
    if request.match != "time" and request.config.training.steps is None:
        yield events.Working("measuring the machine's speed")
    settings = _choose(request, requested, report.sha256, prepared)
    atomic.write_file(directory / SETTINGS_FILE, settings.to_json())
    return settings


def _without_how_it_runs(config: Config) -> dict[str, Any]:
    """The settings by which a comparison is known again: all but device and threads."""
    raw = config.model_dump(mode="json")
    for key in ("device", "threads"):
        del raw["training"][key]
    return raw


def _clear(directory: Path) -> None:
    """Remove another comparison, ``compare.json`` first, so that a kill on the way leaves nothing to go on with."""
    atomic.remove_file(directory / SETTINGS_FILE)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            atomic.remove_directory(path)
        elif path.name.endswith(".figures.json"):
            atomic.remove_file(path)


def _read_settings(directory: Path, *, is_to_be_replaced: bool) -> ResolvedSettings | None:
    path = directory / SETTINGS_FILE
    if is_to_be_replaced or not path.exists():
        return None
    try:
        raw = untrusted.strict_json(untrusted.read_regular_file(path, max_bytes=MAX_FILE_BYTES), name=SETTINGS_FILE)
        return ResolvedSettings(**raw | {"config": Config.model_validate(raw["config"])})
    except (ModelError, KeyError, TypeError, ValueError):
        message = f"{printable(path)} cannot be used"
        raise ModelError(message, hint="begin the comparison anew with --replace") from None


def _choose(
    request: ComparisonRequest, requested: dict[str, Any], corpus_sha256: str, prepared: TokenizedCorpus
) -> ResolvedSettings:
    """Sizes, batch, dropout and steps: as for one cell of the reference's width, then the same for all."""
    config = request.config
    device = choose_device(config.training.device)
    stream, num_bytes = prepared.streams["training"], prepared.headers["training"].num_bytes
    hidden_size = config.model.hidden_size or min(
        automatic.WIDTH_WITHOUT_MINUTES, automatic.widest_hidden_size(num_bytes, epochs=0)
    )
    batch_size = config.training.batch_size or automatic.automatic_batch_size(len(stream), hidden_size, device)
    model = config.model.model_copy(
        update={
            "hidden_size": hidden_size,
            "embedding_size": config.model.embedding_size or min(256, hidden_size),
        }
    )
    training = config.training.model_copy(update={"batch_size": batch_size})
    settings = ResolvedSettings(
        corpus_sha256,
        requested,
        config.model_copy(update={"model": model, "training": training}),
        dict.fromkeys(CELL_CLASSES, hidden_size),
        prepared.tokenizer.vocab_size,
    )
    if request.match == "parameters":
        most = settings.architecture(REFERENCE_CELL)
        sizes = {cell: hidden_size_for(most._replace(cell=cell), most.num_parameters) for cell in CELL_CLASSES}
        settings = ResolvedSettings(corpus_sha256, requested, settings.config, sizes, settings.vocab_size)
    if request.match == "time":
        return settings
    steps = training.steps or _steps_in_time(request, settings, prepared, device)
    epochs = steps * batch_size * training.seq_len / len(stream)
    wide = automatic.is_wide(hidden_size, num_bytes)
    dropout, weight_dropout = planning.choose_dropout(model, epochs=epochs, wide=wide)
    config = config.model_copy(
        update={
            "model": model.model_copy(update={"dropout": dropout, "weight_dropout": weight_dropout}),
            "training": training.model_copy(update={"steps": steps}),
        }
    )
    return ResolvedSettings(corpus_sha256, requested, config, settings.hidden_sizes, settings.vocab_size)


def hidden_size_for(arch: Architecture, num_parameters: int) -> int:
    """The H at which a network has as nearly as can be so many parameters; its own H does not matter."""
    low, high = 1, 2
    while arch._replace(hidden_size=high).num_parameters < num_parameters:
        low, high = high, 2 * high
    sizes = range(max(1, low - 1), high + 2)
    return min(sizes, key=lambda size: abs(arch._replace(hidden_size=size).num_parameters - num_parameters))


def _steps_in_time(
    request: ComparisonRequest, settings: ResolvedSettings, prepared: TokenizedCorpus, device: torch.device
) -> int:
    """The steps that the slowest of the cells makes in the minutes."""
    config, stream = settings.config, prepared.streams["training"]
    training = config.training
    assert training.batch_size is not None
    batches = Batches(
        stream, paragraph_ends(prepared.tokenizer, stream), training.batch_size, training.seq_len, training.seed
    )
    if training.precision == "auto":
        training = training.model_copy(update={"precision": automatic.automatic_precision(device)})
    max_threads = torch.get_num_threads()
    seconds = []
    for cell in request.cells:
        if cell == "gru" and device.type == "cpu":
            kernel.enable()
        model = config.model.model_copy(
            update={
                "cell": cell,
                "hidden_size": settings.hidden_sizes[cell],
                "dropout": config.model.dropout or planning.PROBED_DROPOUT,
                "weight_dropout": config.model.weight_dropout or 0.0,
            }
        )
        seconds.append(
            probe.probe_step_seconds(
                model,
                training,
                batches,
                vocab_size=settings.vocab_size,
                device=device,
                max_threads=max_threads,
            )
        )
        torch.set_num_threads(max_threads)
    budget = max(1.0, 60 * training.minutes - probe.CLOSING_SECONDS)
    return max(1, min(int(budget / (max(seconds) * planning.EVALUATION_OVERHEAD)), automatic.max_useful_steps(batches)))


def _train(
    request: ComparisonRequest, settings: ResolvedSettings, cell: str, stop_signal: Callable[[], int | None]
) -> Iterator[events.Event]:
    path = request.directory / cell
    if RunDir.beside(path).is_finished() and path.exists():
        return
    config = settings.config
    config = config.model_copy(
        update={
            "model": config.model.model_copy(update={"cell": cell, "hidden_size": settings.hidden_sizes[cell]}),
            "training": config.training.model_copy(
                update={"device": request.config.training.device, "threads": request.config.training.threads}
            ),
        }
    )
    training = TrainingRequest(
        request.sources,
        path,
        config,
        replace=False,
        started=time.monotonic(),
        tokenized_dir=RunDir(request.directory / "text"),
        is_remembered=False,
    )
    yield from run_training(training, stop_signal=stop_signal)


def _sizes(settings: ResolvedSettings, cell: str) -> dict[str, Any]:
    arch = settings.architecture(cell)
    shapes = arch.tensor_shapes()
    of_cells = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("cells."))
    return {
        "cell": cell,
        "hidden_size": arch.hidden_size,
        "num_parameters": arch.num_parameters,
        "num_cell_parameters": of_cells,
    }


def _measure(
    request: ComparisonRequest, settings: ResolvedSettings, cell: str
) -> Generator[RecallProgress, None, CellResult]:
    """Everything but the speed of completions; what was measured before is taken from ``CELL.figures.json``."""
    path = request.directory / cell
    model = load_model(path)
    device = choose_device(request.config.training.device)
    module = network_from_model(model, device)
    kept = _Kept(request.directory / f"{cell}.figures.json")
    curve = read_curve(RunDir.beside(path))
    steps = model.manifest.steps
    assert steps is not None  # our own training wrote the manifest
    text = kept.part("text", model.fingerprint, lambda: _measure_text(settings, cell, model, module, device))
    pairs = recall = None
    if request.pairs:
        key = untrusted.sha256_hex(json.dumps([asdict(pair) for pair in request.pairs]).encode()) + model.fingerprint
        pairs = kept.part("pairs", key, lambda: _measure_pairs(model, module, request.pairs))
    if request.recall_length is not None:
        key = f"{request.recall_length} {request.recall_seconds} {settings.hidden_sizes[cell]}"
        recall = kept.known("recall", key)
        if recall is None:
            recall = kept.keep("recall", key, (yield from _measure_recall(request, settings, cell)))
    return CellResult(
        **_sizes(settings, cell),
        steps=steps,
        bits_per_byte=text["bits_per_byte"],
        num_bytes=text["num_bytes"],
        at_start=None if text["at_start"] is None else GradientFlow(text["at_start"]),
        trained=None if text["trained"] is None else GradientFlow(text["trained"]),
        pairs=pairs,
        recall=recall,
        looks=curve.evaluations,
    )


class _Kept:
    """A file of figures that need not be measured again while what they are of is the same."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts: dict[str, Any] = {}
        with suppress(ModelError):
            self._parts = untrusted.strict_json(
                untrusted.read_regular_file(path, max_bytes=MAX_FILE_BYTES), name=path.name
            )

    def part(self, name: str, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Figures by their name, measured if there are none with this key."""
        known = self.known(name, key)
        return self.keep(name, key, measure()) if known is None else known

    def known(self, name: str, key: str) -> dict[str, Any] | None:
        """Figures that were measured before."""
        known = self._parts.get(name)
        if not isinstance(known, dict) or known.get("key") != key:
            return None
        figures: dict[str, Any] = known["figures"]
        return figures

    def keep(self, name: str, key: str, figures: dict[str, Any]) -> dict[str, Any]:
        """Write figures down, and return them."""
        self._parts[name] = {"key": key, "figures": figures}
        atomic.write_file(self.path, json.dumps(self._parts).encode())
        return figures


def _measure_text(
    settings: ResolvedSettings, cell: str, model: LoadedModel, module: LanguageModel, device: torch.device
) -> dict[str, Any]:
    """Cost of the text that was kept apart, and gradient flow in it."""
    try:
        stream, header = read_held_out(model)
    except UsageError:  # nothing was held out
        stream, header = RunDir.beside(model.path).read_part("tuning", model.tokenizer)
    report = evaluate(module, stream, header)
    flows: dict[str, Any] = {"at_start": None, "trained": None}
    try:
        flows["at_start"] = gradient_flow(_as_begun(settings, cell).to(device), stream).shares
        flows["trained"] = gradient_flow(module, stream).shares
    except CorpusError:
        flows = {"at_start": None, "trained": None}
    return {"bits_per_byte": report.bits_per_byte, "num_bytes": report.num_bytes, **flows}


def _as_begun(settings: ResolvedSettings, cell: str) -> LanguageModel:
    """The network with the very weights that its training began with."""
    model = settings.config.model.model_copy(
        update={"cell": cell, "hidden_size": settings.hidden_sizes[cell], "dropout": 0.0, "weight_dropout": 0.0}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(settings.config.training.seed, "initial weights"))
        return LanguageModel(settings.vocab_size, **model.model_dump())


def _measure_pairs(model: LoadedModel, module: LanguageModel, pairs: Sequence[Pair]) -> dict[str, Any]:
    credits = score_pairs(module, model.tokenizer, pairs)
    is_far = np.array([pair.distance >= MIN_FAR_WORDS for pair in pairs])
    far = PairScore.from_credits(credits[is_far]).to_json() if is_far.any() else None
    return {**PairsReport.from_credits(pairs, credits).to_json(), "far": far}


def _measure_recall(
    request: ComparisonRequest, settings: ResolvedSettings, cell: str
) -> Generator[RecallProgress, None, dict[str, Any]]:
    length = request.recall_length
    assert length is not None
    if cell == "gru":
        kernel.enable()  # where all is trained already, nothing else has
    is_chrono = settings.config.model.chrono_length is not None and CELL_CLASSES[cell].update_gate is not None
    training = train_recall(
        tasks()["copy"],
        cell=cell,
        length=length,
        hidden_size=settings.hidden_sizes[cell],
        chrono_length=length + 1 if is_chrono else None,
        seconds=request.recall_seconds,
        seed=settings.config.training.seed,
    )
    with closing(training):
        while True:
            try:
                progress = next(training)
            except StopIteration as end:
                return {"task": "copy", "length": length, **end.value.to_json()}
            yield RecallProgress(cell, request.recall_seconds, progress)
