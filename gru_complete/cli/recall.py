"""`recall`: cells are trained on the spot to say later what they were told before."""

import json
import math
import sys
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.errors import InterruptedRun, UsageError

if TYPE_CHECKING:
    from tqdm import tqdm

    from gru_complete.cli.console import Console
    from gru_complete.comparison.recall import RecallResult, RecallStep, RecallTask

LENGTHS = (2, 5_000)
HIDDEN_SIZES = (1, 4_096)


def recall(
    context: typer.Context,
    task: Annotated[str, typer.Option(help="copy, adding or fact.", metavar="TASK")] = "copy",
    length: Annotated[int, typer.Option(help="How many steps to remember for.", metavar="N")] = 200,
    cell: Annotated[
        list[str] | None, typer.Option(help="Cell to train; may be given several times. Default: gru.", metavar="CELL")
    ] = None,
    chrono: Annotated[
        bool, typer.Option("--chrono", help="Begin with gates made for spans of up to N steps, where a cell has any.")
    ] = False,
    hidden_size: Annotated[int, typer.Option(help="Units of the cell.", metavar="N")] = 128,
    minutes: Annotated[float, typer.Option(help="Train each cell no longer than this.", metavar="N")] = 3.0,
    seed: Annotated[int, typer.Option(help="Another seed draws other weights and rows.", metavar="N")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per cell.")] = False,
) -> None:
    """Train cells on a task that only memory solves, and say how often they are right at its whole length.

    copy: ten symbols, then N blanks, then the symbols again. adding: N numbers, two of them marked; their sum. fact:
    who went somewhere on which day, then N words of the sample world, then which day it was.
    """
    from gru_complete.cli.signals import StopNow, StopSignals

    cells = cell or ["gru"]
    if not 0 < minutes < math.inf:
        raise UsageError(f"--minutes {minutes} is not a number above 0")
    for name, value, (least, most) in (("length", length, LENGTHS), ("hidden-size", hidden_size, HIDDEN_SIZES)):
        if not least <= value <= most:
            raise UsageError(f"--{name} {value} is not from {least} to {most:,}")
    console: Console = context.obj
    console.check_output()  # before any work
    try:
        with StopSignals():
            from gru_complete.comparison.recall import tasks
            from gru_complete.nn import kernel
            from gru_complete.nn.cells import CELL_CLASSES

            known = tasks()
            if task not in known:
                raise UsageError(f"--task {task} is none of {', '.join(known)}")
            if unknown := [name for name in cells if name not in CELL_CLASSES]:
                raise UsageError(f"--cell {unknown[0]} is none of {', '.join(CELL_CLASSES)}")
            if "gru" in cells:
                kernel.enable()
            results = []
            for name in cells:
                settings = {
                    "cell": name,
                    "length": length,
                    "hidden_size": hidden_size,
                    "chrono_length": length + 1 if chrono and CELL_CLASSES[name].update_gate is not None else None,
                    "seed": seed,
                }
                result = _train(console, known[task], settings, 60 * minutes)
                results.append((settings, result))
                if as_json:
                    record = {"task": task} | settings | result.to_json()
                    console.write(json.dumps(record).encode() + b"\n")
    except StopNow as stopped:
        raise InterruptedRun("interrupted", signal_number=stopped.signal_number) from None
    if not as_json:
        _print(console, task, length, results)


def _train(console: "Console", task: "RecallTask", settings: dict[str, Any], seconds: float) -> "RecallResult":
    """Train one cell, with a bar on a terminal: of the time it may take, for nobody knows when it has learnt."""
    from gru_complete.comparison.recall import train_recall

    bar: Any = recall_bar(settings["cell"], seconds) if console.is_animated else nullcontext()
    training = train_recall(task, seconds=seconds, **settings)
    with bar as shown, closing(training):
        while True:
            try:
                progress = next(training)
            except StopIteration as end:
                result: RecallResult = end.value
                return result
            if shown is not None:
                show_progress(shown, progress, seconds)


def recall_bar(cell: str, seconds: float) -> "tqdm[Any]":
    """A bar of the time that a cell's training may take, on stderr."""
    from tqdm import tqdm

    bar_format = "{desc}: {percentage:3.0f}% |{bar}| at most {remaining} left{postfix}"
    return tqdm(desc=cell, total=seconds, bar_format=bar_format, dynamic_ncols=True, leave=False, file=sys.stderr)


def show_progress(bar: "tqdm[Any]", progress: "RecallStep", seconds: float) -> None:
    """Show how far a training is that may take so many seconds."""
    bar.set_postfix_str(f"length {progress.length}, {progress.right:.0%} right", refresh=False)
    bar.update(min(progress.seconds, seconds) - bar.n)


def _print(console: "Console", task: str, length: int, results: "list[tuple[dict[str, Any], RecallResult]]") -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"{task}, {length:,} steps")
    for heading in ("right, %", "by chance, %", "learnt up to", "updates", "seconds"):
        table.add_column(heading, justify="right")
    for settings, result in results:
        value, low, high = (100 * figure for figure in result.right)
        table.add_row(
            settings["cell"] + ("" if settings["chrono_length"] is None else ", chrono"),
            f"{value:.1f} ({low:.1f}..{high:.1f})",
            f"{100 * result.chance:.1f}",
            f"{result.learnt_length:,}",
            f"{result.updates:,}",
            f"{result.seconds:,.0f}",
        )
    console.print_table(table)
