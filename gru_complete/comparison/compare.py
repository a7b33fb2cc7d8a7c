"""Cells trained on the same text with the same budget, and measured in the same way.

All cells share the text, its split and its tokens, the seed, batches, dropout and the other settings; the n-gram counts
are left out. ``comparison/settings.py`` says what else they share.

The comparison's directory holds ``compare.json`` (the request and the resolved settings, written before any training),
``text`` (the tokens that all share), and for each cell an ordinary model with its run directory and
``CELL.figures.json`` (what was measured of it). After a kill the same command continues from there.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from gru_complete.comparison.events import CellsCompared, CellStarted, CellTrained, CompareEvent, RecallProgress
from gru_complete.comparison.measuring import FIGURES_SUFFIX, measure_cell
from gru_complete.comparison.request import ComparisonRequest
from gru_complete.comparison.results import CellResult
from gru_complete.comparison.settings import (
    SETTINGS_FILE,
    ResolvedSettings,
    read_settings,
    requested_settings,
    resolve_settings,
)
from gru_complete.comparison.speeds import completion_speeds, training_speeds
from gru_complete.errors import DivergedError, GruCompleteError, UsageError, printable
from gru_complete.model.directory import load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.storage import atomic, lock, privacy
from gru_complete.training import events
from gru_complete.training.device import choose_device
from gru_complete.training.plan import read_plan
from gru_complete.training.refusals import refuse_nested_paths
from gru_complete.training.run import (
    TrainingRequest,
    run_training,
)
from gru_complete.training.tokenized_corpus import read_tokenized_corpus, spooled, tokenize_corpus

TEXT_DIR = "text"


def compare(request: ComparisonRequest, *, stop_signal: Callable[[], int | None]) -> Iterator[CompareEvent]:
    """Train the cells that are not trained yet, and measure all of them.

    Args:
        request: what to compare, on which text, and how.
        stop_signal: the signal number once the user wants to stop. It is only called while a cell is trained, from
            ``events.Planned`` to ``CellTrained``.

    Yields:
        The events of each training and those of ``comparison/events.py``; ``CellsCompared`` is the last.

    Raises:
        UsageError: another comparison is there; the text cannot be read more than once.
        CorpusError, ModelError, EnvironmentFailure, BusyError: as their names say.
        InterruptedRun: stopped by the signal, after saving.
    """
    directory = request.directory
    _refuse_sources_read_once(request.sources)
    refuse_nested_paths(request.sources, (directory,))
    if directory.exists() and not (directory / lock.LOCK_FILE).is_file():
        message = f"{printable(directory)} exists and is not a comparison"
        raise UsageError(message, hint="give the comparison another place with -m")
    is_new = not directory.exists()
    atomic.make_directory(directory)
    try:
        with lock.DirectoryLock(directory):
            privacy.secure_directory(directory)
            yield from _compare_locked(request, stop_signal)
    except BaseException:
        if is_new and not (directory / SETTINGS_FILE).exists():  # there is nothing to continue from
            with suppress(GruCompleteError):
                atomic.remove_directory(directory)
        raise


def _compare_locked(request: ComparisonRequest, stop_signal: Callable[[], int | None]) -> Iterator[CompareEvent]:
    """Settings, training, figures, speeds: in this order."""
    num_threads = torch.get_num_threads()
    atomic.sweep_temporaries(request.directory)
    settings = yield from _read_or_resolve_settings(request)
    diverged = yield from _train_cells(request, settings, stop_signal)
    torch.set_num_threads(num_threads)  # a training may have chosen fewer
    results = []
    for cell in request.cells:
        if cell in diverged:
            results.append(CellResult.from_architecture(settings.architecture(cell), diverged=diverged[cell]))
            continue
        yield events.Working(f"measuring {cell}")
        for event in measure_cell(request, settings, cell):
            if isinstance(event, RecallProgress):
                yield event
            else:
                results.append(event)
    yield events.Working("measuring speeds")
    results = _with_speeds(request.directory, results)
    torch.set_num_threads(num_threads)
    yield CellsCompared(settings, results)


def _refuse_sources_read_once(sources: Sequence[str]) -> None:
    """Refuse standard input and pipes: the text is read once for each cell."""
    for source in sources:
        with suppress(OSError):
            if source == "-" or stat.S_ISFIFO(os.stat(source).st_mode):
                raise UsageError("a comparison reads its text once for each cell", hint="put the text into a file")


def _read_or_resolve_settings(request: ComparisonRequest) -> Generator[events.Event, None, ResolvedSettings]:
    """The settings of this comparison: those in the directory, else chosen for the text and the machine."""
    directory, text_dir = request.directory, RunDir(request.directory / TEXT_DIR)
    yield events.Working("reading the corpus")
    with spooled(request.sources, directory, request.config.data, stdin=None) as (spool_path, spool):
        yield events.CorpusRead(spool.report)
        corpus_sha256 = spool.report.sha256
        if not request.replace and (directory / SETTINGS_FILE).exists():
            settings = read_settings(directory / SETTINGS_FILE)
            _refuse_other_comparison(request, settings, corpus_sha256)
            return settings
        _clear(directory)
        atomic.make_directory(text_dir.path)
        yield from tokenize_corpus(text_dir, spool_path, spool, request.config.data, request.config.tokenizer)
    corpus = read_tokenized_corpus(text_dir)
    if request.match != "time" and request.config.training.steps is None:
        yield events.Working("measuring the machine's speed")
    device = choose_device(request.config.training.device)
    settings = resolve_settings(request, corpus, corpus_sha256=corpus_sha256, device=device)
    atomic.write_file(directory / SETTINGS_FILE, settings.to_json())
    return settings


def _refuse_other_comparison(request: ComparisonRequest, settings: ResolvedSettings, corpus_sha256: str) -> None:
    """Refuse to continue a comparison of another text or with other settings."""
    differences = [] if settings.corpus_sha256 == corpus_sha256 else ["another corpus"]
    differences += [] if settings.requested == requested_settings(request) else ["other settings"]
    if differences:
        message = f"the comparison {printable(request.directory)} is of {' and '.join(differences)}"
        raise UsageError(message, hint="start it again with --replace, or give this one another name with -m")


def _clear(directory: Path) -> None:
    """Remove another comparison, ``compare.json`` first: after a kill on the way nothing looks like a comparison."""
    atomic.remove_file(directory / SETTINGS_FILE)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            atomic.remove_directory(path)
        elif path.name.endswith(FIGURES_SUFFIX):
            atomic.remove_file(path)


def _train_cells(
    request: ComparisonRequest, settings: ResolvedSettings, stop_signal: Callable[[], int | None]
) -> Generator[CompareEvent, None, dict[str, str]]:
    """Train every cell; returns the messages of those that diverged."""
    num_threads = torch.get_num_threads()
    diverged: dict[str, str] = {}
    for number, cell in enumerate(request.cells, start=1):
        yield CellStarted(cell, number, len(request.cells))
        torch.set_num_threads(num_threads)  # the training before may have chosen fewer
        try:
            yield from _train_cell(request, settings, cell, stop_signal)
        except DivergedError as error:
            diverged[cell] = str(error)
            yield events.Note(f"{cell}: {error}")
        yield CellTrained(cell)
    return diverged


def _train_cell(
    request: ComparisonRequest, settings: ResolvedSettings, cell: str, stop_signal: Callable[[], int | None]
) -> Iterator[events.Event]:
    """Train one cell, or continue its training, unless it is finished."""
    path = request.directory / cell
    if RunDir.beside(path).is_finished() and path.exists():
        return
    asked, config = request.config.training, settings.config
    where = {"device": asked.device, "threads": asked.threads}
    training = TrainingRequest(
        request.sources,
        path,
        config.model_copy(
            update={"model": settings.model_config(cell), "training": config.training.model_copy(update=where)}
        ),
        replace=False,
        started=time.monotonic(),
        tokenized_dir=RunDir(request.directory / TEXT_DIR),
        is_remembered=False,
    )
    yield from run_training(training, stop_signal=stop_signal)


def _with_speeds(directory: Path, results: Sequence[CellResult]) -> list[CellResult]:
    """Add the speeds to the results of all cells that did not diverge."""
    paths = {result.cell: directory / result.cell for result in results if result.diverged is None}
    completion = completion_speeds({cell: load_model(path) for cell, path in paths.items()})
    plans = {cell: read_plan(RunDir.beside(path)) for cell, path in paths.items()}
    training = training_speeds(plans, RunDir(directory / TEXT_DIR))
    return [
        replace(
            result,
            training_tokens_per_second=training[result.cell],
            completion_tokens_per_second=completion[result.cell],
        )
        if result.cell in paths
        else result
        for result in results
    ]
