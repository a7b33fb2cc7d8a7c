"""`inspect`: what the gates of the network do with a text, token by token."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.help import COMMON
from gru_complete.cli.loading import choose_model
from gru_complete.cli.options import ModelOption
from gru_complete.cli.output import json_line
from gru_complete.cli.prompts import STDIN, file_source, stdin_source, without_final_newline
from gru_complete.errors import CorpusError, UsageError, printable
from gru_complete.text.prompts import read_prompt, read_whole_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gru_complete.cli.console import Console
    from gru_complete.cli.heatmap import HeatmapStyle
    from gru_complete.inspection.agreement import Agreement
    from gru_complete.inspection.features import FeatureReport
    from gru_complete.inspection.record import Inspection
    from gru_complete.model.directory import LoadedModel

_MAX_BYTES = 1 << 20
_PIPE_COLUMNS = 100
PICTURE_UNITS = 24
PAIRS = "pairs:"

_FINDING, _PICTURES = "Finding units", "Pictures"

EXAMPLES = {
    COMMON: ['gru-complete inspect "Mr Watson goes"'],
    _FINDING: ["gru-complete inspect --find quotes"],
    _PICTURES: ['gru-complete inspect "Mr Watson goes" --svg gates.svg --html gates.html'],
}


def inspect(
    context: typer.Context,
    text: Annotated[
        str | None,
        typer.Argument(help="Text to inspect; '-' reads standard input; optional with --find.", metavar="[TEXT]"),
    ] = None,
    model: ModelOption = None,
    units: Annotated[
        int | None,
        typer.Option(
            min=1, help="Show the N units of each layer that vary most; default: as many as fit.", metavar="N"
        ),
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(
            help="Find the units that track a feature: quotes, brackets, line-length, a regular expression, "
            "or pairs:FILE for the agreement that minimal pairs test.",
            metavar="WHAT",
            rich_help_panel=_FINDING,
        ),
    ] = None,
    text_file: Annotated[
        Path | None,
        typer.Option(
            "--text",
            help="Text in which --find looks; default: text the model was not trained on.",
            metavar="FILE",
            rich_help_panel=_FINDING,
        ),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the gates as an SVG picture.", metavar="FILE", rich_help_panel=_PICTURES)
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(help="The same picture as PNG; needs matplotlib.", metavar="FILE", rich_help_panel=_PICTURES),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a web page that shows the gates of the token under the pointer.",
            metavar="FILE",
            rich_help_panel=_PICTURES,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace existing files.", rich_help_panel=_PICTURES)
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the gates of the network at each token of TEXT, and which units track which features.

    Only the network is shown: the n-gram model beside it has no gates.
    """
    from gru_complete.model.directory import load_model

    if text is None and find is None:
        raise UsageError("no text to inspect", hint='give it as in: gru-complete inspect "Mr Watson goes"')
    if text_file is not None and (find is None or find.startswith(PAIRS)):
        raise UsageError("--text needs --find with a feature of text", hint="see gru-complete inspect --help")
    outputs = {name: path for name, path in (("svg", svg), ("png", png), ("html", html)) if path is not None}
    _check_outputs(outputs, has_text=text is not None, replace=replace)
    given = None if text is None else _read(text)
    console: Console = context.obj
    loaded = load_model(choose_model(console, model))
    data = None if given is None else read_whole_prompt(given, loaded.manifest.normal_form, what="the text")
    reports = [] if find is None else _find(loaded, find, text_file)
    inspection = None
    if data is not None:
        inspection = _inspect(console, loaded, data, reports, num_units=units, is_quiet=as_json)
    if as_json:
        record: dict[str, Any] = {"model": loaded.path.name, "cell": loaded.manifest.arch.cell}
        record |= {} if inspection is None else inspection.to_json()
        record |= {"find": [report.to_json() for report in reports]} if reports else {}
        console.write(json_line(record, is_ascii=False))
    else:
        from gru_complete.cli.tables import follower_table

        for report in reports:
            console.print_table(follower_table(report, num_layers=loaded.manifest.arch.num_layers))
    if inspection is not None:  # after the results, which a failure cannot cost then
        _write_files(console, inspection, outputs)


def _inspect(
    console: "Console",
    loaded: "LoadedModel",
    data: bytes,
    reports: "Sequence[FeatureReport | Agreement]",
    *,
    num_units: int | None,
    is_quiet: bool,
) -> "Inspection":
    """Let the network read the text, and draw the terminal's picture unless ``is_quiet``."""
    from gru_complete.cli.heatmap import fitting_units
    from gru_complete.inspection.record import Inspection
    from gru_complete.inspection.trace import trace_text

    trace = trace_text(loaded, data)
    best_first = sorted(reports, key=lambda report: -report.probe.followers[0].balanced)
    followers = [(report.feature, [follower.unit for follower in report.probe.followers]) for report in best_first]
    with_units = partial(Inspection.from_trace, loaded.path.name, data, trace, followers)
    if not is_quiet:
        style = _style(console)
        _print(console, with_units(num_units or fitting_units(trace, style)), style)
    return with_units(num_units or PICTURE_UNITS)


def _check_outputs(outputs: Mapping[str, Path], *, has_text: bool, replace: bool) -> None:
    """Refuse, before any work, output files that cannot be written or would overwrite something.

    Raises:
        UsageError: there is no text to draw, matplotlib is missing, or a file exists and ``replace`` is off.
    """
    for name, path in outputs.items():
        if not has_text:
            raise UsageError(f"--{name} needs a text to draw", hint="give one besides --find")
        if os.path.lexists(path) and not (replace and path.is_file()):
            hint = "name another file, or give --replace" if path.is_file() else "name another file"
            raise UsageError(f"{printable(path)} exists", hint=hint)
    if len(set(outputs.values())) < len(outputs):
        raise UsageError("two of --svg, --png and --html name the same file")
    if "png" in outputs:
        from gru_complete.inspection.png import check_matplotlib

        check_matplotlib()


def _write_files(console: "Console", inspection: "Inspection", outputs: Mapping[str, Path]) -> None:
    """Draw each file, and name it on stderr."""
    if not outputs:
        return
    from gru_complete.inspection.html_page import render_page
    from gru_complete.inspection.png import render_png
    from gru_complete.inspection.svg import render_svg
    from gru_complete.storage.atomic import write_file

    makers = {
        "svg": lambda: render_svg(inspection).encode(),
        "png": lambda: render_png(inspection),
        "html": lambda: render_page(inspection).encode(),
    }
    for name, path in outputs.items():
        write_file(path, makers[name](), follows=True)
        console.note(f"{name}: {printable(path)}")


def _find(loaded: "LoadedModel", find: str, text_file: Path | None) -> "Sequence[FeatureReport | Agreement]":
    """The units that track a feature of running text, or each of the agreements that minimal pairs test."""
    if find.startswith(PAIRS):
        from gru_complete.evaluation.pairs import read_pairs
        from gru_complete.inspection.agreement import find_agreement

        pairs = read_pairs(Path(find.removeprefix(PAIRS)))
        return find_agreement(loaded, [pair.in_form(loaded.manifest.normal_form) for pair in pairs])
    from gru_complete.inspection.features import feature_from_name, find_feature, unseen_documents

    feature_from_name(find)  # refuses what is no feature, before anything is read
    if text_file is None:
        return [find_feature(loaded, find, unseen_documents(loaded))]
    blocks = []
    left = _MAX_BYTES
    for block in read_prompt([file_source(text_file)], loaded.manifest.normal_form):
        blocks.append(block[:left])
        left -= len(blocks[-1])
        if not left:
            break
    return [find_feature(loaded, find, [loaded.tokenizer.encode(b"".join(blocks))])]


def _read(text: str) -> bytes:
    """The text to inspect.

    Raises:
        CorpusError: standard input has more bytes than can be inspected together.
    """
    if text != STDIN:
        return os.fsencode(text)
    blocks = []
    num_bytes = 0
    for block in without_final_newline(stdin_source().blocks):
        blocks.append(block)
        num_bytes += len(block)
        if num_bytes > _MAX_BYTES:
            message = f"standard input has more than {_MAX_BYTES:,} bytes, too many to inspect together"
            raise CorpusError(message, hint="give a part of it, as in: head -c 2000 FILE | gru-complete inspect -")
    return b"".join(blocks)


def _style(console: "Console") -> "HeatmapStyle":
    """How to draw on this terminal; a pipe gets ``_PIPE_COLUMNS`` columns."""
    import shutil

    from gru_complete.cli.console import is_terminal
    from gru_complete.cli.heatmap import BARS, HeatmapStyle

    if not is_terminal(sys.stdout):
        return HeatmapStyle(_PIPE_COLUMNS, console.has_color(sys.stdout))
    has_bars = True
    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        has_bars = False
    return HeatmapStyle(shutil.get_terminal_size().columns, console.has_color(sys.stdout), has_bars)


def _print(console: "Console", inspection: "Inspection", style: "HeatmapStyle") -> None:
    """Print the map of the gates and what stands out in it."""
    from rich.text import Text

    from gru_complete.cli import heatmap
    from gru_complete.inspection.record import describe_saturation

    trace = inspection.trace
    console.print_table(Text(f"{printable(inspection.title)}; the network alone", style="bold"))
    console.print_table(heatmap.draw(trace, inspection.units, style))
    if trace.gate_names:
        console.print_table(heatmap.saturation_table(trace))
    console.print_table(Text(describe_saturation(trace.saturation())))
    for line in heatmap.half_life_lines(trace):
        console.print_table(line)
    if inspection.follows:
        console.print_table(Text(_best_followers(inspection)))


def _best_followers(inspection: "Inspection") -> str:
    """Which units in the map track which features best."""
    names = (
        f"layer {layer + 1} unit {unit}" if inspection.trace.num_layers > 1 else f"unit {unit}"
        for layer, unit in inspection.follows
    )
    best = [f"{name} ({feature})" for name, feature in zip(names, inspection.follows.values(), strict=True)]
    return f"the units on the left follow best: {printable('; '.join(best))}"
