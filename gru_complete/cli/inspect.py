"""`inspect`: what the gates of the network did with a text, token by token."""

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gru_complete.cli.options import ModelOption
from gru_complete.cli.prompts import STDIN, stdin_blocks, without_final_newline
from gru_complete.errors import CorpusError, UsageError

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.cli.heatmap import Look
    from gru_complete.evaluation.inspection import Inspection

_MOST_BYTES = 1 << 20
_PIPE_CELLS = 100
JSON_UNITS = 16


def inspect(
    context: typer.Context,
    text: Annotated[str | None, typer.Argument(help="Text to look into; '-' reads standard input.")] = None,
    model: ModelOption = None,
    units: Annotated[
        int | None, typer.Option(min=1, help="Show the N units that vary most; default: as many as fit.", metavar="N")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the gates of the network at each token of TEXT: the network's alone, since the counts have none."""
    from gru_complete.model_dir import find_model, load_model

    loaded = load_model(find_model(model))
    if text is None:
        hint = 'give it as in: gru-complete inspect "Mr Watson goes"'
        raise UsageError("no text to look into", hint=hint)
    from gru_complete.cli.heatmap import fitting_units
    from gru_complete.evaluation.gates import trace
    from gru_complete.evaluation.inspection import Inspection

    console: Console = context.obj
    data = _read(text)
    read = trace(loaded, data)
    look = _look(console)
    number = units or (JSON_UNITS if as_json else fitting_units(read, look))
    chosen = [read.most_varied(layer, number) for layer in range(read.num_layers)]
    inspection = Inspection(loaded.path.name, data, read, chosen)
    if as_json:
        line = json.dumps(inspection.to_json(), ensure_ascii=False)
        console.write(line.encode("utf-8", "backslashreplace") + b"\n")
        return
    _print(console, inspection, look)


def _read(text: str) -> bytes:
    """The text to look into, of which no more is taken in than could be looked at."""
    if text != STDIN:
        return os.fsencode(text)
    parts = []
    size = 0
    for block in without_final_newline(stdin_blocks()):
        parts.append(block)
        size += len(block)
        if size > _MOST_BYTES:
            message = f"standard input has more than {_MOST_BYTES:,} bytes, too many to look at together"
            raise CorpusError(message, hint="give a part of it, as in: head -c 2000 FILE | gru-complete inspect -")
    return b"".join(parts)


def _look(console: "Console") -> "Look":
    import shutil

    from gru_complete.cli.console import is_terminal
    from gru_complete.cli.heatmap import BARS, Look

    if not is_terminal(sys.stdout):
        return Look(_PIPE_CELLS, console.has_color(sys.stdout))
    has_bars = True
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        has_bars = False
    return Look(shutil.get_terminal_size().columns, console.has_color(sys.stdout), has_bars)


def _print(console: "Console", inspection: "Inspection", look: "Look") -> None:
    from rich.text import Text

    from gru_complete.cli import heatmap
    from gru_complete.evaluation.inspection import verdict
    from gru_complete.files import shown

    trace = inspection.trace
    console.print_table(Text(f"{shown(inspection.title)}; the network alone", style="bold"))
    console.print_table(heatmap.draw(trace, inspection.units, look))
    if trace.gate_names:
        console.print_table(heatmap.saturation_table(trace))
    console.print_table(Text(verdict(trace.saturation())))
    for line in heatmap.half_life_lines(trace):
        console.print_table(line)
