"""`check`: unusual words or lines, reported like a linter."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gru_complete.cli.checks import check_stdin_once
from gru_complete.cli.help import COMMON
from gru_complete.cli.loading import choose_model, use_one_thread
from gru_complete.cli.options import ModelOption
from gru_complete.cli.output import json_line
from gru_complete.cli.progress import bytes_bar
from gru_complete.cli.prompts import STDIN, file_blocks, stdin_blocks
from gru_complete.errors import CorpusError, UsageError, printable
from gru_complete.runtime.options import check_range

if TYPE_CHECKING:
    from tqdm import tqdm

    from gru_complete.checking.anomalous_lines import AnomalousLine, AnomalousLineFinder
    from gru_complete.checking.unusual_words import UnusualWord, WordChecker
    from gru_complete.cli.console import Console

_MAX_SHOWN_CHARS = 80  # of an anomalous line

EXAMPLES = {COMMON: ["gru-complete check letter.txt", "gru-complete check --lines -m syslog < today.log"]}


def check(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files to check, each on its own; '-' (the default if input is piped in) reads standard input.",
            metavar="[FILE|-]...",
        ),
    ] = None,
    model: ModelOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Report words for which an alternative has odds of at least X; default: the model's own, measured "
            "on its validation split, but at least 3. With --lines: the minimum anomaly score; default: 4.",
            metavar="X",
        ),
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Find lines that are unlike the others (for logs).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per finding.")] = False,
) -> None:
    """Find words in whose place the model expects another, and suggest alternatives.

    Findings are unusual compared with the model's training text; they need not be wrong. The exit code is 1 if anything
    was found, 3 if a file could not be read; the other files are checked all the same.
    """
    use_one_thread()
    console: Console = context.obj
    console.check_output()
    names = _sources(files)
    if threshold is not None:
        check_range("threshold", threshold, 1e-6, 1e12)
    finder = _finder(choose_model(console, model), threshold, finds_lines=lines)
    exit_code = 0
    with bytes_bar(console, "checking", names) as bar:
        for name in names:
            try:
                found = _check_file(console, finder, name, bar, as_json=as_json)
                exit_code = exit_code or int(found)
            except CorpusError as error:
                exit_code = error.exit_code
                if bar is not None:
                    bar.clear()
                console.error(str(error), error.hint)
    if exit_code:
        raise typer.Exit(exit_code)
    if not as_json:
        console.note("nothing unusual found")


def _check_file(
    console: "Console",
    finder: "AnomalousLineFinder | WordChecker",
    name: str,
    bar: "tqdm[Any] | None",
    *,
    as_json: bool,
) -> bool:
    """Print what is found in a file; returns whether that is anything.

    Raises:
        CorpusError: the file cannot be read.
    """
    has_findings = False
    for finding in finder.findings(_texts(name), None if bar is None else bar.update):
        has_findings = True
        line = json_line(_record(name, finding), is_ascii=False) if as_json else _line(name, finding)
        if bar is not None:
            bar.clear()
        console.write(line)
    return has_findings


def _finder(path: Path, threshold: float | None, *, finds_lines: bool) -> "AnomalousLineFinder | WordChecker":
    """What finds lines or words with the model; without a threshold, the finder's or the model's own."""
    from gru_complete.checking import anomalous_lines, unusual_words
    from gru_complete.checking.threshold import threshold_from_manifest
    from gru_complete.model.directory import load_model
    from gru_complete.runtime.completer import Completer

    loaded = load_model(path)
    completer = Completer.from_model(loaded)
    if finds_lines:
        least = anomalous_lines.DEFAULT_THRESHOLD if threshold is None else threshold
        return anomalous_lines.AnomalousLineFinder(completer, threshold=least)
    least = threshold_from_manifest(loaded.manifest) if threshold is None else threshold
    return unusual_words.WordChecker(completer, threshold=least)


def _sources(files: list[str] | None) -> list[str]:
    """The files to read.

    Raises:
        UsageError: no file is given and nothing is piped in, or standard input is given twice.
    """
    names = files or [STDIN]
    check_stdin_once(names)
    if not files and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("no text to check", hint="give it as in: gru-complete check letter.txt")
    return names


def _texts(name: str) -> Iterator[str]:
    """The text of a file, in pieces."""
    from gru_complete.text.decoding import DocumentReader

    blocks = stdin_blocks() if name == STDIN else file_blocks(Path(name))
    yield from DocumentReader(name, what="text", command="gru-complete check -").texts(blocks)


def _line(name: str, finding: "UnusualWord | AnomalousLine") -> bytes:
    """A finding as linters write it."""
    from gru_complete.checking.unusual_words import UnusualWord

    if isinstance(finding, UnusualWord):
        best = finding.alternatives[0]
        message = f'"{finding.word}" is unlikely here; did you mean "{best.word}"? (x {_rounded_odds(best.odds)})'
    else:
        text = finding.text if len(finding.text) <= _MAX_SHOWN_CHARS else f"{finding.text[:_MAX_SHOWN_CHARS]}…"
        costs = f"{finding.bits_per_byte:.2f} bits per byte, usual: {finding.usual_bits_per_byte:.2f}"
        message = f'"{text}" is unlike other lines ({finding.anomaly_score:.0f} spreads; {costs})'
    return f"{name if name == STDIN else printable(name)}:{finding.line}:{finding.column}: {message}\n".encode()


def _record(name: str, finding: "UnusualWord | AnomalousLine") -> dict[str, object]:
    """A finding as a JSON object; keys are only ever added."""
    from gru_complete.checking.unusual_words import UnusualWord

    place = {"file": name, "line": finding.line, "column": finding.column}
    if isinstance(finding, UnusualWord):
        alternatives = [
            {"word": word.word, "ratio": _rounded(word.ratio), "odds": _rounded(word.odds)}
            for word in finding.alternatives
        ]
        return {**place, "word": finding.word, "odds": alternatives[0]["odds"], "alternatives": alternatives}
    figures = {
        "strangeness": finding.anomaly_score,
        "bits_per_byte": finding.bits_per_byte,
        "usual_bits_per_byte": finding.usual_bits_per_byte,
    }
    return {**place, "text": finding.text, **{name: _rounded(value) for name, value in figures.items()}}


def _rounded_odds(odds: float) -> str:
    if odds < 9.95:
        return f"{odds:.2g}"
    return f"{odds:,.0f}" if odds < 1e6 else f"{odds:.0e}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
