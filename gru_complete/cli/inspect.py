"""`inspect`: what the gates of the network did with a text, token by token."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.options import ModelOption
from gru_complete.cli.prompts import STDIN, file_blocks, stdin_blocks, without_final_newline
from gru_complete.errors import CorpusError, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from gru_complete.cli.console import Console
    from gru_complete.cli.heatmap import HeatmapStyle
    from gru_complete.evaluation.intervals import Interval
    from gru_complete.inspection.agreement import Agreement
    from gru_complete.inspection.features import FeatureReport
    from gru_complete.inspection.probes import Unit
    from gru_complete.inspection.record import Inspection
    from gru_complete.model.directory import LoadedModel

_MAX_BYTES = 1 << 20
_PIPE_CELLS = 100
PICTURE_UNITS = 24
PAIRS = "pairs:"


def inspect(
    context: typer.Context,
    text: Annotated[
        str | None, typer.Argument(help="Text to look into; '-' reads standard input; may be left out with --find.")
    ] = None,
    model: ModelOption = None,
    units: Annotated[
        int | None,
        typer.Option(min=1, help="Show N units of each layer, those that vary most; default: what fits.", metavar="N"),
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(
            help="Find the units that follow a feature: quotes, brackets, line-length, a regular expression, "
            "or pairs:FILE for the words that minimal pairs ask for.",
            metavar="WHAT",
        ),
    ] = None,
    text_file: Annotated[
        Path | None,
        typer.Option("--text", help="Where --find looks; default: what training kept apart.", metavar="FILE"),
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw a picture of it.", metavar="FILE")] = None,
    png: Annotated[Path | None, typer.Option(help="The same in pixels; needs matplotlib.", metavar="FILE")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page: hover a token, see its gates; needs no network.", metavar="FILE")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace files that exist.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what the gates of the network did at each token of TEXT, and which units follow what.

    It is about the network alone: the counts beside it have no gates.
    """
    from gru_complete.model.directory import load_model
    from gru_complete.model.home import find_model

    if text is None and find is None:
        raise UsageError("no text to look into", hint='give it as in: gru-complete inspect "Mr Watson goes"')
    if text_file is not None and (find is None or find.startswith(PAIRS)):
        raise UsageError("--text is where --find looks for a feature of text", hint="see gru-complete inspect --help")
    outputs = {name: path for name, path in (("svg", svg), ("png", png), ("html", html)) if path is not None}
    _check_outputs(outputs, has_text=text is not None, replace=replace)
    data = None if text is None else _read(text)
    loaded = load_model(find_model(model))
    found = [] if find is None else _found(loaded, find, text_file)
    console: Console = context.obj
    if data is None:
        if as_json:
            _write_json(console, {"model": loaded.path.name, "cell": loaded.manifest.arch.cell}, found)
        for report in found if not as_json else []:
            _print_found(console, report, loaded.manifest.arch.num_layers)
        return
    from gru_complete.cli.heatmap import fitting_units
    from gru_complete.inspection.record import Inspection
    from gru_complete.inspection.trace import trace_text

    read = trace_text(loaded, data)
    look = _look(console)
    best_first = sorted(found, key=lambda report: -report.probe.followers[0].balanced)
    units_found = [(report.feature, [follower.unit for follower in report.probe.followers]) for report in best_first]
    inspection = Inspection.from_trace(loaded.path.name, data, read, units_found, units or PICTURE_UNITS)
    _write_files(console, inspection, outputs)
    if as_json:
        _write_json(console, inspection.to_json(), found)
        return
    if units is None:
        inspection = Inspection.from_trace(loaded.path.name, data, read, units_found, fitting_units(read, look))
    _print(console, inspection, look)
    if found:
        console.print_table(_columns_found(inspection))
    for report in found:
        _print_found(console, report, loaded.manifest.arch.num_layers)


def _columns_found(inspection: "Inspection") -> "Text":
    """Which of the units in the map follow what."""
    from rich.text import Text

    names = (
        f"layer {layer + 1} unit {unit}" if inspection.trace.num_layers > 1 else f"unit {unit}"
        for layer, unit in inspection.follows
    )
    best = [f"{name} ({feature})" for name, feature in zip(names, inspection.follows.values(), strict=True)]
    return Text(f"the units on the left follow best: {printable('; '.join(best))}")


def _check_outputs(outputs: Mapping[str, Path], *, has_text: bool, replace: bool) -> None:
    """Find out before any work whether the files can be written, as far as can be told.

    Raises:
        UsageError: there is nothing to draw, something to draw with is missing, or something would be lost.
    """
    for name, path in outputs.items():
        if not has_text:
            raise UsageError(f"--{name} needs a text to draw", hint="give it beside --find")
        if os.path.lexists(path) and not (replace and path.is_file()):
            hint = "name another file, or give --replace" if path.is_file() else "name another file"
            raise UsageError(f"{printable(path)} exists", hint=hint)
    if len(set(outputs.values())) < len(outputs):
        raise UsageError("two of --svg, --png and --html name the same file")
    if "png" in outputs:
        from gru_complete.inspection.png import check_matplotlib

        check_matplotlib()


def _write_files(console: "Console", inspection: "Inspection", outputs: Mapping[str, Path]) -> None:
    """Write what was asked for, and say so."""
    if not outputs:
        return
    from gru_complete.inspection.png import png
    from gru_complete.inspection.svg import page, svg
    from gru_complete.storage.atomic import write_file

    makers = {
        "svg": lambda: svg(inspection).encode(),
        "png": lambda: png(inspection),
        "html": lambda: page(inspection).encode(),
    }
    for name, path in outputs.items():
        write_file(path, makers[name]())
        console.note(f"{name}: {printable(path)}")


def _found(loaded: "LoadedModel", find: str, text_file: Path | None) -> "Sequence[FeatureReport | Agreement]":
    """What follows a feature, of running text or of pairs."""
    if find.startswith(PAIRS):
        from gru_complete.evaluation.pairs import read_pairs
        from gru_complete.inspection.agreement import find_agreement

        return find_agreement(loaded, read_pairs(Path(find.removeprefix(PAIRS))))
    from gru_complete.inspection.features import feature_from_name, find_feature, unseen_documents

    feature_from_name(find)  # which may be none: to be said before anything is read
    if text_file is None:
        return [find_feature(loaded, find, unseen_documents(loaded))]
    blocks = []
    left = _MAX_BYTES
    for block in file_blocks(text_file):
        blocks.append(block[:left])
        left -= len(blocks[-1])
        if not left:
            break
    return [find_feature(loaded, find, [loaded.tokenizer.encode(b"".join(blocks))])]


def _write_json(console: "Console", record: dict[str, Any], found: "Sequence[FeatureReport | Agreement]") -> None:
    if found:
        record |= {"find": [report.to_json() for report in found]}
    console.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def _print_found(console: "Console", report: "FeatureReport | Agreement", num_layers: int) -> None:
    """One table: the units that follow a feature, and between what bounds that is."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from gru_complete.inspection.agreement import MAX_NEAR_WORDS, Agreement

    is_agreement = isinstance(report, Agreement)
    probe = report.probe
    what = "pairs" if is_agreement else "tokens"
    table = Table(box=box.SIMPLE_HEAD, title_justify="left")
    table.title = Text(
        f"{printable(report.feature)}\nchosen on {probe.num_fit:,} {what}, tried on {probe.num_tried:,} others"
    )
    table.add_column("", no_wrap=True)
    table.add_column("right, %\n(95 % interval)", justify="right", no_wrap=True)
    if isinstance(report, Agreement):
        headings = [
            f"over {MAX_NEAR_WORDS}\nwords, %",
            "gate at\nthe cue",
            "gate on\nthe way",
            "closed all\nthe way, %",
        ]
    else:
        headings = ["there and not there\nweighed alike, %"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for index, follower in enumerate(probe.followers):
        more = [f"{100 * follower.balanced:.1f}"]
        if isinstance(report, Agreement):
            far, gate = report.far[index], report.gates[index]
            more = ["" if far is None else f"{100 * far.value:.1f}"]
            more += [""] * 3 if gate is None else [f"{gate.at_cue:.2f}", f"{gate.mean:.2f}", f"{100 * gate.closed:.0f}"]
        table.add_row(_unit_name(follower.unit, num_layers), _percent(follower.accuracy), *more)
    table.add_row("all, linear", _percent(probe.linear))
    table.add_row("the commoner", f"{100 * probe.majority:.1f}")
    console.print_table(table)


def _unit_name(unit: "Unit", num_layers: int) -> str:
    kind = "cell" if unit.is_cell else "unit"
    return f"layer {unit.layer + 1} {kind} {unit.unit}" if num_layers > 1 else f"{kind} {unit.unit}"


def _percent(interval: "Interval") -> str:
    value, low, high = (f"{100 * figure:.1f}" for figure in interval)
    return f"{value} ({low}..{high})"


def _read(text: str) -> bytes:
    """The text to look into, of which no more is taken in than could be looked at."""
    if text != STDIN:
        return os.fsencode(text)
    parts = []
    size = 0
    for block in without_final_newline(stdin_blocks()):
        parts.append(block)
        size += len(block)
        if size > _MAX_BYTES:
            message = f"standard input has more than {_MAX_BYTES:,} bytes, too many to look at together"
            raise CorpusError(message, hint="give a part of it, as in: head -c 2000 FILE | gru-complete inspect -")
    return b"".join(parts)


def _look(console: "Console") -> "HeatmapStyle":
    import shutil

    from gru_complete.cli.console import is_terminal
    from gru_complete.cli.heatmap import BARS, HeatmapStyle

    if not is_terminal(sys.stdout):
        return HeatmapStyle(_PIPE_CELLS, console.has_color(sys.stdout))
    has_bars = True
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        has_bars = False
    return HeatmapStyle(shutil.get_terminal_size().columns, console.has_color(sys.stdout), has_bars)


def _print(console: "Console", inspection: "Inspection", look: "HeatmapStyle") -> None:
    from rich.text import Text

    from gru_complete.cli import heatmap
    from gru_complete.inspection.record import describe_saturation

    trace = inspection.trace
    console.print_table(Text(f"{printable(inspection.title)}; the network alone", style="bold"))
    console.print_table(heatmap.draw(trace, inspection.units, look))
    if trace.gate_names:
        console.print_table(heatmap.saturation_table(trace))
    console.print_table(Text(describe_saturation(trace.saturation())))
    for line in heatmap.half_life_lines(trace):
        console.print_table(line)
