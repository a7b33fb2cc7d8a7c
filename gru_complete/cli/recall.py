"""`recall`: trains cells on tasks that can be solved only by remembering."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.checks import RECALL_LENGTHS, check_choice, check_minutes
from gru_complete.cli.help import COMMON
from gru_complete.cli.output import json_line
from gru_complete.cli.progress import recall_bar, show_recall
from gru_complete.runtime.options import check_range

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.comparison.recall import RecallResult

HIDDEN_SIZES = (1, 4_096)
SEEDS = (0, 2**63 - 1)  # as of a training; the seeds of later updates are greater, and PyTorch's end below 2**64

NEEDS_TORCH = True
EXAMPLES = {COMMON: ["gru-complete recall --task copy --length 100 --cell gru --cell rnn"]}


def recall(
    context: typer.Context,
    task: Annotated[str, typer.Option(help="copy, adding or fact.", metavar="TASK")] = "copy",
    length: Annotated[int, typer.Option(help="Number of steps to remember for.", metavar="N")] = 200,
    cell: Annotated[
        list[str] | None, typer.Option(help="Cell to train; repeatable. Default: gru.", metavar="CELL")
    ] = None,
    chrono: Annotated[
        bool,
        typer.Option(
            "--chrono", help="Initialise gates for spans of up to N steps (chrono initialisation), in cells with gates."
        ),
    ] = False,
    hidden_size: Annotated[int, typer.Option(help="Number of hidden units.", metavar="N")] = 128,
    minutes: Annotated[float, typer.Option(help="Time limit for each cell.", metavar="N")] = 3.0,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of all examples.", metavar="N")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per cell.")] = False,
) -> None:
    """Train cells on a memory task and measure how often they are right at its full length.

    copy: ten symbols, then N blanks, then the symbols again. adding: N numbers, two of them marked; answer with their
    sum. fact: somebody went somewhere on some day, then N words of the sample world; answer with the day.
    """
    from gru_complete.cli.signals import StopNow, StopSignals

    check_minutes(minutes)
    check_range("--length", length, *RECALL_LENGTHS)
    check_range("--hidden-size", hidden_size, *HIDDEN_SIZES)
    check_range("--seed", seed, *SEEDS)
    console: Console = context.obj
    console.check_output()  # before any work
    results = []
    try:
        with StopSignals():
            for settings in _settings(task, cell or ["gru"], length, hidden_size, seed, is_chrono=chrono):
                result = _train(console, task, settings, 60 * minutes)
                results.append((settings, result))
                if as_json:
                    console.write(json_line({"task": task} | settings | result.to_json()))
    except StopNow as stopped:
        raise stopped.as_error() from None
    if not as_json:
        from gru_complete.cli.tables import recall_table

        console.print_table(recall_table(task, length, results))


def _settings(
    task: str, cells: list[str], length: int, hidden_size: int, seed: int, *, is_chrono: bool
) -> list[dict[str, Any]]:
    """The settings of each cell, as ``--json`` prints them.

    Raises:
        UsageError: there is no such task or cell.
    """
    from gru_complete.comparison.recall import tasks
    from gru_complete.nn import kernel
    from gru_complete.nn.cells import CELL_CLASSES

    check_choice("--task", task, tasks())
    for name in cells:
        check_choice("--cell", name, CELL_CLASSES)
    if "gru" in cells:
        kernel.enable()
    return [
        {
            "cell": name,
            "length": length,
            "hidden_size": hidden_size,
            "chrono_length": length + 1 if is_chrono and CELL_CLASSES[name].update_gate is not None else None,
            "seed": seed,
        }
        for name in cells
    ]


def _train(console: "Console", task: str, settings: dict[str, Any], seconds: float) -> "RecallResult":
    """Train one cell; a terminal shows a bar of the time it may take, since when it will have learnt is not known."""
    from gru_complete.comparison.recall import RecallResult, RecallSettings, tasks, train_recall

    with recall_bar(settings["cell"], seconds) if console.is_animated else nullcontext() as bar:
        for event in train_recall(tasks()[task], RecallSettings(**settings, seconds=seconds)):
            if isinstance(event, RecallResult):
                return event
            if bar is not None:
                show_recall(bar, event, seconds)
    raise AssertionError("the result is the last event")
