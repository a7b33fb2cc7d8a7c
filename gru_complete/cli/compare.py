"""`compare`: cells trained on the same text, side by side in one table and one picture, and what is said of them."""

import json
import math
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli import train
from gru_complete.cli.options import ConfigOption, DeviceOption, SeedOption, SettingsOption
from gru_complete.cli.recall import LENGTHS, recall_bar, show_progress
from gru_complete.errors import InterruptedRun, UsageError

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.comparison.claims import Claim
    from gru_complete.comparison.compare import (
        CellResult,
        CellsCompared,
        CompareEvent,
        ComparisonRequest,
        RecallProgress,
    )

RECALL_MINUTES = 3.0


def compare(
    context: typer.Context,
    corpus: Annotated[list[str], typer.Argument(help="Text files or directories.", metavar="CORPUS")],
    cells: Annotated[
        str, typer.Option(help="Which to compare; rnn-relu is one more.", metavar="CELL,...")
    ] = "rnn,gru-simple,gru,gru-reset-after,lstm",
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="NAME", help="Name or directory; default: the corpus's name."),
    ] = None,
    config: ConfigOption = None,
    settings: SettingsOption = None,
    minutes: Annotated[
        str | None, typer.Option(help="Time for the training of each cell, the slowest; default 5.", metavar="N")
    ] = None,
    steps: Annotated[str | None, typer.Option(help="Updates of each cell, instead of minutes.", metavar="N")] = None,
    match: Annotated[
        str,
        typer.Option(
            help="What is the same: width or parameters, with the same steps; or time, with the same width.",
            metavar="width|parameters|time",
        ),
    ] = "width",
    pairs: Annotated[Path | None, typer.Option(help="Minimal pairs, one JSON object per line.", metavar="FILE")] = None,
    recall: Annotated[
        int | None, typer.Option(help="Also train each cell to copy symbols over N steps.", metavar="N")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw what came out: .png, .svg or .pdf.", metavar="FILE")] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Begin anew where there is another comparison.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train each cell on CORPUS in the same way, and say which is better at what; the same command goes on.

    Networks alone are compared: no phrases are counted.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):  # where torch does not use the library that numpy does
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as `complete` has it
    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.config import load_config
    from gru_complete.model.architecture import CELLS
    from gru_complete.model.home import resolve_model_path

    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps exclude each other")
    if match == "time" and steps is not None:
        raise UsageError("--match time needs --minutes, not --steps")
    if match not in ("width", "parameters", "time"):
        raise UsageError(f"--match {match} is none of width, parameters, time")
    names = [name.strip() for name in cells.split(",")]
    if unknown := [name for name in names if name not in CELLS]:
        raise UsageError(f"--cells: {unknown[0]!r} is none of {', '.join(CELLS)}")
    if len(set(names)) < len(names):
        raise UsageError("--cells names a cell twice")
    if recall is not None and not LENGTHS[0] <= recall <= LENGTHS[1]:
        raise UsageError(f"--recall {recall} is not from {LENGTHS[0]} to {LENGTHS[1]:,}")
    options = {
        "ngrams.order": "0",
        "training.minutes": minutes,
        "training.steps": "null" if minutes is not None or match == "time" else steps,
        "training.seed": seed,
        "training.device": device,
    }
    overrides = [*(settings or ()), *(f"{key}={value}" for key, value in options.items() if value is not None)]
    checked = load_config(config, overrides)
    path = resolve_model_path(model or train.default_model_name(corpus))
    console: Console = context.obj
    console.check_output()
    display = Display(console, is_quiet=not console.is_animated)
    try:
        with StopSignals() as stop, display:
            display.stage("starting")
            from gru_complete.comparison.claims import claims
            from gru_complete.comparison.compare import CellsCompared, CellTrained, ComparisonRequest
            from gru_complete.comparison.compare import compare as run_comparison
            from gru_complete.comparison.plot import draw_comparison
            from gru_complete.evaluation.pairs import read_pairs
            from gru_complete.evaluation.plots import check_plot
            from gru_complete.training.events import Planned

            if plot is not None:
                check_plot(plot)
            request = ComparisonRequest(
                corpus,
                path.with_name(f"{path.name}.compare"),
                checked,
                names,
                match,
                () if pairs is None else read_pairs(pairs),
                recall,
                60 * (RECALL_MINUTES if minutes is None else checked.training.minutes),
                replace,
            )
            done = None
            for event in run_comparison(request, stop_signal=lambda: stop.received):
                if isinstance(event, Planned):
                    stop.is_saving_possible = True
                elif isinstance(event, CellTrained):
                    stop.is_saving_possible = False
                    if stop.received is not None:
                        raise StopNow(stop.received)
                elif isinstance(event, CellsCompared):
                    done = event
                    continue
                _show(display, event)
            assert done is not None
            found = claims(done.results, same_width=match != "parameters")
            if plot is not None:
                draw_comparison(done.results, plot, title=_title(request, done))
    except StopNow as stopped:
        message, hint = "interrupted; what was trained and measured is kept", "the same command goes on where it was"
        raise InterruptedRun(message, signal_number=stopped.signal_number, hint=hint) from None
    if as_json:
        record = {
            "match": match,
            "steps": done.settings.config.training.steps,
            "minutes": None if done.settings.config.training.steps else checked.training.minutes,
            "cells": [result.to_json() for result in done.results],
            "claims": [claim.to_json() for claim in found],
        }
        console.write(json.dumps(_without_nan(record)).encode() + b"\n")
        return
    _print(console, done, found)


def _without_nan(value: Any) -> Any:
    """JSON knows null, not NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Display(train.Display):
    """Shows the events of a comparison on a terminal: those of `train`, and the bar of `recall`."""

    _recalling: str | None = None

    def _show_recallprogress(self, event: "RecallProgress") -> None:
        if self._recalling != event.cell:
            self._close_bar()
            self._bar = recall_bar(f"{event.cell}, copying", event.seconds)
            self._recalling = event.cell
        assert self._bar is not None
        show_progress(self._bar, event.progress, event.seconds)


def _show(display: Display, event: "CompareEvent") -> None:
    """Show an event on a terminal as `train` does, but for what is the same of all cells."""
    from gru_complete.comparison.compare import CellStarted, CellTrained
    from gru_complete.training.events import CorpusRead, Finished

    if isinstance(event, CellStarted):
        display.line(f"{event.cell}, cell {event.number} of {event.num_cells}")
    elif isinstance(event, Finished):
        display.stage("measuring")
    elif not isinstance(event, CellTrained | CorpusRead):
        display.show(event)  # type: ignore[arg-type]


def _title(request: "ComparisonRequest", done: "CellsCompared") -> str:
    """Of the picture: what was compared how."""
    training = done.settings.config.training
    same = "the same number of parameters" if request.match == "parameters" else "the same width"
    budget = f"{training.minutes:g} minutes each" if training.steps is None else f"{training.steps:,} steps each"
    names = ", ".join(Path(source).name for source in request.sources)
    return f"Cells on {names}: {same}, {budget}"


def _print(console: "Console", done: "CellsCompared", found: "list[Claim]") -> None:
    from rich import box
    from rich.table import Table

    from gru_complete.comparison.claims import shown_half_life
    from gru_complete.comparison.compare import MIN_FAR_WORDS
    from gru_complete.evaluation.pairs import DISTANCE_LABELS

    results = done.results
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for result in results:
        table.add_column(result.cell.replace("-", "-\n", 1), justify="right")

    def row(name: str, figure: "Callable[[CellResult], str]") -> None:
        cells = ["diverged" if result.diverged is not None else figure(result) for result in results]
        table.add_row(name, *cells)

    table.add_row("width", *(f"{result.hidden_size:,}" for result in results))
    table.add_row("parameters", *(f"{result.num_parameters:,}" for result in results))
    table.add_row("  of the cells", *(f"{result.num_cell_parameters:,}" for result in results))
    row("steps", lambda result: f"{result.steps:,}")
    row("training, tokens/s", lambda result: _number(result.training_tokens_per_second))
    row("completion, tokens/s", lambda result: _number(result.completion_tokens_per_second))
    row("bits per byte", lambda result: f"{result.bits_per_byte:.4f}")
    labels = [label for label in DISTANCE_LABELS if any(label in _groups(result) for result in results)]
    if labels:
        row("pairs right, %", lambda result: _share(result.pairs))
        for label in labels:
            row(f"  distance {label} words", lambda result, label=label: _share(_groups(result).get(label)))  # type: ignore[misc]
        row(f"  distance {MIN_FAR_WORDS} and more", lambda result: _share(result.pairs and result.pairs["far"]))
    if any(result.trained for result in results):
        table.add_row("half-life of the gradient, tokens")
        row("  as training begins", lambda result: shown_half_life(result.at_start))
        row("  after training", lambda result: shown_half_life(result.trained))
    if lengths := [result.recall["length"] for result in results if result.recall]:
        row(f"copied over {lengths[0]:,} steps, %", _recalled)
    console.print_table(table)
    for claim in found:
        console.write(f"claim: {claim.text}: {claim.verdict} ({claim.figures})\n".encode())


def _groups(result: "CellResult") -> Any:
    return {} if result.pairs is None else result.pairs["by_distance"]


def _share(score: Any) -> str:
    return "" if not score else f"{100 * score['accuracy']:.1f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else ""


def _recalled(result: "CellResult") -> str:
    return "" if result.recall is None else f"{100 * result.recall['right'][0]:.1f}"
