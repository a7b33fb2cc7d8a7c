"""`check`: wording that the model finds unusual, reported like a linter."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gru_complete.cli.options import ModelOption
from gru_complete.cli.prompts import STDIN, file_blocks, stdin_blocks
from gru_complete.errors import UsageError, printable

if TYPE_CHECKING:
    from tqdm import tqdm

    from gru_complete.checking.anomalous_lines import AnomalousLine
    from gru_complete.checking.unusual_words import UnusualWord
    from gru_complete.cli.console import Console

_MAX_SHOWN = 80  # characters of an odd line


def check(
    context: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, each a text of its own; '-', or nothing where input is piped in, reads standard input.",
            metavar="[FILE|-]...",
        ),
    ] = None,
    model: ModelOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="The least odds that are reported, by default as the model's tuning part has shown; "
            "with --lines the least strangeness, by default 4.",
            metavar="X",
        ),
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="For logs: find the lines that are least like the others.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per finding.")] = False,
) -> None:
    """Find words in whose place the model would rather have put another.

    What is found is unusual beside the text that the model was trained on, and need not be wrong. Exit code 1 if
    something was found.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from gru_complete.checking import anomalous_lines, unusual_words
    from gru_complete.model.directory import load_model
    from gru_complete.model.home import find_model
    from gru_complete.runtime.completer import Completer
    from gru_complete.runtime.options import check_range

    console: Console = context.obj
    console.check_output()
    names = _sources(files)
    if threshold is not None:
        check_range("threshold", threshold, 1e-6, 1e12)
    loaded = load_model(find_model(model))
    completer = Completer.from_model(loaded)
    finder: anomalous_lines.AnomalousLineFinder | unusual_words.WordChecker
    if lines:
        least = anomalous_lines.DEFAULT_THRESHOLD if threshold is None else threshold
        finder = anomalous_lines.AnomalousLineFinder(completer, threshold=least)
    else:
        least = unusual_words.threshold_from_manifest(loaded.manifest) if threshold is None else threshold
        finder = unusual_words.WordChecker(completer, threshold=least)
    has_found = False
    with _progress(console, names) as bar:
        for name in names:
            for finding in finder.findings(_texts(name), None if bar is None else bar.update):
                has_found = True
                line = json.dumps(_fields(name, finding), ensure_ascii=False) if as_json else _line(name, finding)
                if bar is not None:
                    bar.clear()
                console.write(line.encode() + b"\n")
    if has_found:
        raise typer.Exit(1)


def _sources(files: list[str] | None) -> list[str]:
    """What to read.

    Raises:
        UsageError: nothing was given and a terminal is no text, or standard input was given twice.
    """
    names = files or [STDIN]
    if names.count(STDIN) > 1:
        raise UsageError("standard input ('-') can only be read once")
    if not files and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("no text to check", hint="give it as in: gru-complete check letter.txt")
    return names


def _texts(name: str) -> Iterator[str]:
    """The text of a source in pieces."""
    from gru_complete.text.decoding import DocumentReader

    blocks = stdin_blocks() if name == STDIN else file_blocks(Path(name))
    yield from DocumentReader(name, what="text", command="gru-complete check -").texts(blocks)


def _line(name: str, finding: "UnusualWord | AnomalousLine") -> str:
    """A finding as linters write it."""
    from gru_complete.checking.unusual_words import UnusualWord

    place = f"{name if name == STDIN else printable(name)}:{finding.line}:{finding.column}"
    if isinstance(finding, UnusualWord):
        best = finding.alternatives[0]
        return f'{place}: "{finding.word}" is unlikely here; did you mean "{best.word}"? (x {_times(best.odds)})'
    text = finding.text if len(finding.text) <= _MAX_SHOWN else f"{finding.text[:_MAX_SHOWN]}…"
    costs = f"{finding.bits_per_byte:.2f} bits per byte, usual: {finding.usual_bits_per_byte:.2f}"
    return f'{place}: "{text}" is unlike other lines ({finding.anomaly_score:.0f} spreads; {costs})'


def _fields(name: str, finding: "UnusualWord | AnomalousLine") -> dict[str, object]:
    """A finding as an object."""
    from gru_complete.checking.unusual_words import UnusualWord

    place = {"file": name, "line": finding.line, "column": finding.column}
    if isinstance(finding, UnusualWord):
        alternatives = [
            {"word": one.word, "ratio": _rounded(one.ratio), "odds": _rounded(one.odds)} for one in finding.alternatives
        ]
        return {**place, "word": finding.word, "odds": alternatives[0]["odds"], "alternatives": alternatives}
    figures = {
        "strangeness": finding.anomaly_score,
        "bits_per_byte": finding.bits_per_byte,
        "usual_bits_per_byte": finding.usual_bits_per_byte,
    }
    return {**place, "text": finding.text, **{name: _rounded(value) for name, value in figures.items()}}


def _times(odds: float) -> str:
    if odds < 9.95:
        return f"{odds:.2g}"
    return f"{odds:,.0f}" if odds < 1e6 else f"{odds:.0e}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


@contextmanager
def _progress(console: "Console", names: list[str]) -> "Iterator[tqdm[NoReturn] | None]":
    """While texts are read: show on a terminal how far, and how long it will take.

    Yields:
        The bar, which is to be told how many more bytes were read; None where nothing can be shown.
    """
    if not console.is_animated:
        yield None
        return
    from tqdm import tqdm

    sizes = [0 if name == STDIN else _size(name) for name in names]
    total = sum(sizes) if all(sizes) else None
    with tqdm(desc="checking", total=total, unit="B", unit_scale=True, leave=False, delay=1.0, file=sys.stderr) as bar:
        yield bar


def _size(name: str) -> int:
    try:
        return os.path.getsize(name)
    except OSError:
        return 0  # reading it will say why
