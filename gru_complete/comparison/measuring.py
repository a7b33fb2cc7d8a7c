"""What is measured of one trained cell: cost of unseen text, gradient flow, minimal pairs, recall.

Speeds are measured of all cells together, so that they take turns: ``comparison/speeds.py``.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from gru_complete.comparison.events import RecallProgress
from gru_complete.comparison.figure_cache import FigureCache
from gru_complete.comparison.recall import RecallEvent, RecallResult, RecallSettings, tasks, train_recall
from gru_complete.comparison.request import ComparisonRequest
from gru_complete.comparison.results import MIN_FAR_WORDS, CellResult
from gru_complete.comparison.settings import ResolvedSettings
from gru_complete.errors import CorpusError, UsageError
from gru_complete.evaluation.gradients import GradientFlow, gradient_flow
from gru_complete.evaluation.pairs import Pair, PairScore, PairsReport, score_pairs
from gru_complete.evaluation.report import evaluate, network_from_model, read_held_out
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.nn import kernel
from gru_complete.nn.cells import CELL_CLASSES
from gru_complete.nn.language_model import LanguageModel
from gru_complete.storage import untrusted
from gru_complete.training.batches import derived_seed
from gru_complete.training.curve import read_curve
from gru_complete.training.device import choose_device

FIGURES_SUFFIX = ".figures.json"


def measure_cell(
    request: ComparisonRequest, settings: ResolvedSettings, cell: str
) -> Iterator[RecallProgress | CellResult]:
    """Measure everything but the speeds; figures measured before come from ``CELL.figures.json``.

    Args:
        request: what the user asked for.
        settings: what all cells share.
        cell: the cell, which is trained.

    Yields:
        The progress of the recall task if that is trained now, and the result as the last event.
    """
    path = request.directory / cell
    model = load_model(path)
    device = choose_device(request.config.training.device)
    module = network_from_model(model, device)
    cache = FigureCache(request.directory / f"{cell}{FIGURES_SUFFIX}")
    curve = read_curve(RunDir.beside(path))
    steps = model.manifest.steps
    assert steps is not None  # our own training wrote the manifest
    text = cache.get_or_measure("text", model.fingerprint, lambda: measure_text(settings, cell, model, module, device))
    pairs = recall = None
    if request.pairs:
        key = untrusted.sha256_hex(json.dumps([asdict(pair) for pair in request.pairs]).encode()) + model.fingerprint
        pairs = cache.get_or_measure("pairs", key, lambda: measure_pairs(model, module, request.pairs))
    if request.recall_length is not None:
        key = f"{request.recall_length} {request.recall_seconds} {settings.hidden_sizes[cell]}"
        recall = cache.get("recall", key)
        if recall is None:
            recall = cache.put("recall", key, (yield from measure_recall(request, settings, cell)))
    flows = {name: None if text[name] is None else GradientFlow(text[name]) for name in ("at_start", "trained")}
    yield CellResult.from_architecture(
        settings.architecture(cell),
        steps=steps,
        bits_per_byte=text["bits_per_byte"],
        num_bytes=text["num_bytes"],
        pairs=pairs,
        recall=recall,
        evaluations=curve.evaluations,
        **flows,
    )


def measure_text(
    settings: ResolvedSettings, cell: str, model: LoadedModel, module: LanguageModel, device: torch.device
) -> dict[str, Any]:
    """The cost of text that the network has not learnt from, and the gradient flow in it.

    Args:
        settings: what all cells share.
        cell: the cell.
        model: the trained model.
        module: the same as a network.
        device: where to compute.
    """
    try:
        stream, header = read_held_out(model)
    except UsageError:  # nothing was held out
        stream, header = RunDir.beside(model.path).read_part("tuning", model.tokenizer)
    report = evaluate(module, stream, header)
    flows: dict[str, Any] = {"at_start": None, "trained": None}
    try:
        flows["at_start"] = gradient_flow(initial_network(settings, cell).to(device), stream).shares
        flows["trained"] = gradient_flow(module, stream).shares
    except CorpusError:
        flows = {"at_start": None, "trained": None}
    return {"bits_per_byte": report.bits_per_byte, "num_bytes": report.num_bytes, **flows}


def initial_network(settings: ResolvedSettings, cell: str) -> LanguageModel:
    """The network with the very weights that its training started from."""
    model = settings.model_config(cell, dropout=0.0, weight_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(settings.config.training.seed, "initial weights"))
        return LanguageModel(settings.vocab_size, **model.model_dump())


def measure_pairs(model: LoadedModel, module: LanguageModel, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The scores of minimal pairs as in ``eval --json``, and ``far``, the score of those far from their cue."""
    credits = score_pairs(module, model.tokenizer, pairs)
    is_far = np.array([pair.distance >= MIN_FAR_WORDS for pair in pairs])
    far = PairScore.from_credits(credits[is_far]).to_json() if is_far.any() else None
    return {**PairsReport.from_credits(pairs, credits).to_json(), "far": far}


def measure_recall(
    request: ComparisonRequest, settings: ResolvedSettings, cell: str
) -> Generator[RecallProgress, None, dict[str, Any]]:
    """Train a fresh cell of the same width on the copy task; returns its figures as in ``recall --json``."""
    length = request.recall_length
    assert length is not None
    if cell == "gru":
        kernel.enable()  # if every cell was trained before, nothing else has enabled it
    is_chrono = settings.config.model.chrono_length is not None and CELL_CLASSES[cell].update_gate is not None
    recall_settings = RecallSettings(
        cell=cell,
        length=length,
        hidden_size=settings.hidden_sizes[cell],
        chrono_length=length + 1 if is_chrono else None,
        seconds=request.recall_seconds,
        seed=settings.config.training.seed,
    )
    event: RecallEvent
    for event in train_recall(tasks()["copy"], recall_settings):
        if isinstance(event, RecallResult):
            result = event
        else:
            yield RecallProgress(cell, request.recall_seconds, event)
    return {"task": "copy", "length": length, **result.to_json()}
