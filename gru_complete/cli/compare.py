"""`compare`: cells trained on the same text, side by side in one table and one picture, and the claims they support."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gru_complete.cli.checks import RECALL_LENGTHS, check_choice, check_minutes_or_steps
from gru_complete.cli.display import TrainingDisplay
from gru_complete.cli.help import COMMON, SETTINGS
from gru_complete.cli.options import (
    ConfigOption,
    DeviceOption,
    PairsOption,
    SeedOption,
    SettingsOption,
    training_settings,
)
from gru_complete.cli.output import json_line
from gru_complete.cli.progress import recall_bar, show_recall
from gru_complete.errors import UsageError, printable
from gru_complete.model.naming import default_model_name
from gru_complete.runtime.options import check_range

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.cli.signals import StopSignals
    from gru_complete.comparison.events import CellsCompared, CompareEvent, RecallProgress
    from gru_complete.comparison.request import ComparisonRequest

RECALL_MINUTES = 3.0

NEEDS_TORCH = True
EXAMPLES = {
    COMMON: ["gru-complete compare letters.txt --cells gru,lstm,rnn --plot cells.svg"],
    SETTINGS: ["gru-complete compare letters.txt --steps 1000 --seed 1"],
}


def compare(
    context: typer.Context,
    corpus: Annotated[list[str], typer.Argument(help="Text to learn: files or directories.", metavar="CORPUS...")],
    cells: Annotated[
        str | None, typer.Option(help="Cells to compare; default: all but rnn-relu.", metavar="CELL,...")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME", help="Name or directory of the comparison; default: named after CORPUS."
        ),
    ] = None,
    config: ConfigOption = None,
    settings: SettingsOption = None,
    minutes: Annotated[
        str | None, typer.Option(help="Training time of the slowest cell; default: 5.", metavar="N")
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            help="Number of updates of each cell, instead of --minutes.", metavar="N", rich_help_panel=SETTINGS
        ),
    ] = None,
    match: Annotated[
        str,
        typer.Option(
            help="What all cells have in common: width or parameters, with the same number of steps; "
            "or time, with the same width.",
            metavar="width|parameters|time",
        ),
    ] = "width",
    pairs: PairsOption = None,
    recall: Annotated[
        int | None, typer.Option(help="Also train each cell to copy symbols over N steps.", metavar="N")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Plot the results: .png, .svg or .pdf.", metavar="FILE")] = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing comparison.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train each cell on CORPUS in the same way and say which is better at what.

    Only networks are compared, without n-gram models. If a comparison was interrupted, the same command resumes it.
    """
    from gru_complete.cli.signals import StopNow, StopSignals
    from gru_complete.comparison.request import DEFAULT_CELLS, MATCHES, ComparisonRequest
    from gru_complete.config import load_config
    from gru_complete.model.home import resolve_model_path

    check_minutes_or_steps(minutes, steps)
    check_choice("--match", match, MATCHES)
    if match == "time" and steps is not None:
        raise UsageError("--match time needs --minutes, not --steps")
    if recall is not None:
        check_range("--recall", recall, *RECALL_LENGTHS)
    steps = "null" if match == "time" else steps
    options = training_settings(minutes=minutes, steps=steps, seed=seed, device=device)
    checked = load_config(config, [*(settings or ()), "ngrams.order=0"], options)
    names = None if cells is None else _cell_names(cells)
    path = resolve_model_path(model or default_model_name(corpus))
    console: Console = context.obj
    console.check_output()
    try:
        with StopSignals() as stop:
            with ComparisonDisplay(console, is_quiet=not console.is_animated) as display:
                display.stage("starting")
                from gru_complete.evaluation.pairs import read_pairs
                from gru_complete.evaluation.plots import check_plot

                if plot is not None:
                    check_plot(plot)
                request = ComparisonRequest(
                    sources=corpus,
                    directory=path.with_name(f"{path.name}.compare"),
                    config=checked,
                    cells=DEFAULT_CELLS if names is None else names,
                    match=match,
                    pairs=() if pairs is None else read_pairs(pairs),
                    recall_length=recall,
                    recall_seconds=60 * (RECALL_MINUTES if minutes is None else checked.training.minutes),
                    replace=replace,
                )
                compared = _run(request, display, stop)
            _print(console, request, compared, as_json=as_json)
            if plot is not None:  # after the results, which a failure cannot cost then
                _draw(request, compared, plot)
    except StopNow as stopped:
        message, hint = "interrupted; what was trained and measured is kept", "run the same command again to resume"
        raise stopped.as_error(message, hint=hint) from None


def _cell_names(cells: str) -> list[str]:
    """The names in ``--cells``.

    Raises:
        UsageError: one is unknown or occurs twice.
    """
    from gru_complete.model.architecture import CELLS

    names = [name.strip() for name in cells.split(",")]
    for name in names:
        check_choice("--cells", name, CELLS)
    if len(set(names)) < len(names):
        raise UsageError("--cells names a cell twice")
    return names


def _run(request: "ComparisonRequest", display: "ComparisonDisplay", stop: "StopSignals") -> "CellsCompared":
    """Train and measure what is missing, and show it.

    Raises:
        StopNow: a signal came while a cell was trained; the training is saved.
    """
    from gru_complete.cli.signals import StopNow
    from gru_complete.comparison.compare import compare
    from gru_complete.comparison.events import CellsCompared, CellTrained
    from gru_complete.training.events import Planned

    compared = None
    for event in compare(request, stop_signal=lambda: stop.received):
        if isinstance(event, Planned):
            stop.is_saving_possible = True
        elif isinstance(event, CellTrained):
            stop.is_saving_possible = False
            if stop.received is not None:
                raise StopNow(stop.received)
        elif isinstance(event, CellsCompared):
            compared = event
        display.show(event)
    assert compared is not None
    return compared


def _draw(request: "ComparisonRequest", compared: "CellsCompared", plot: Path) -> None:
    """Plot the results, with a title that says what was compared how."""
    from gru_complete.comparison.plot import draw_comparison

    training = compared.settings.config.training
    same = "the same number of parameters" if request.match == "parameters" else "the same width"
    budget = f"{training.minutes:g} minutes each" if training.steps is None else f"{training.steps:,} steps each"
    names = printable(", ".join(Path(source).name for source in request.sources))
    draw_comparison(compared.results, plot, title=f"Cells on {names}: {same}, {budget}")


def _print(console: "Console", request: "ComparisonRequest", compared: "CellsCompared", *, as_json: bool) -> None:
    """Print the table and the claims, or all of it as one JSON object."""
    from gru_complete.comparison.claims import claims

    supported = claims(compared.results, same_width=request.match != "parameters")
    if as_json:
        steps = compared.settings.config.training.steps
        record = {
            "match": request.match,
            "steps": steps,
            "minutes": None if steps else request.config.training.minutes,
            "cells": [result.to_json() for result in compared.results],
            "claims": [claim.to_json() for claim in supported],
        }
        console.write(json_line(record))
        return
    from gru_complete.cli.tables import comparison_table

    console.print_table(comparison_table(compared.results))
    for claim in supported:
        console.write(f"claim: {claim.text}: {claim.verdict} ({claim.figures})\n".encode())


class ComparisonDisplay(TrainingDisplay):
    """Shows the events of a comparison on a terminal: those of ``train``, and the bar of ``recall``."""

    _recalling_cell: str | None = None

    def show(self, event: "CompareEvent") -> None:
        """Show one event, unless it is the same for all cells."""
        if self.is_quiet:
            return
        from gru_complete.comparison.events import CellsCompared, CellStarted, CellTrained, RecallProgress
        from gru_complete.training.events import CorpusRead, Finished

        match event:
            case CellStarted():
                self.line(f"{event.cell}, cell {event.number} of {event.num_cells}")
            case RecallProgress():
                self._show_recall(event)
            case Finished():
                self.stage("measuring")
            case CorpusRead() | CellTrained() | CellsCompared():
                pass
            case _:
                super().show(event)

    def _show_recall(self, event: "RecallProgress") -> None:
        """Move the bar of the time for the recall task; each cell has a bar of its own."""
        if self._recalling_cell != event.cell:
            self.close_bar()
            self.bar = recall_bar(f"{event.cell}, copying", event.seconds)
            self._recalling_cell = event.cell
        assert self.bar is not None
        show_recall(self.bar, event.progress, event.seconds)
