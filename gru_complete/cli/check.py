"""`check`: wording that the model finds unusual, reported like a linter."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gru_complete.cli.options import ModelOption
from gru_complete.cli.prompts import STDIN, file_blocks, stdin_blocks
from gru_complete.errors import UsageError
from gru_complete.files import shown

if TYPE_CHECKING:
    from gru_complete.cli.console import Console
    from gru_complete.evaluation.wording import Finding, WordingChecker


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
        typer.Option(help="Report what is so many times likelier to be a slip; default: 10.", metavar="X"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per finding.")] = False,
) -> None:
    """Find words in whose place the model would rather have put another.

    What is found is unusual beside the text that the model was trained on, and need not be wrong. Exit code 1 if
    something was found.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from gru_complete.evaluation.wording import DEFAULT_THRESHOLD, WordingChecker
    from gru_complete.model_dir import find_model
    from gru_complete.runtime.completer import Completer
    from gru_complete.runtime.options import check_range

    console: Console = context.obj
    console.check_output()
    names = _sources(files)
    least = DEFAULT_THRESHOLD if threshold is None else threshold
    check_range("threshold", least, 1e-6, 1e12)
    checker = WordingChecker(Completer.load(find_model(model)), threshold=least)
    has_found = False
    with _progress(console, names) as progress:
        for name in names:
            for finding in _findings(checker, name, progress):
                has_found = True
                console.write((_json(name, finding) if as_json else _line(name, finding)).encode() + b"\n")
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


def _findings(checker: "WordingChecker", name: str, progress: Callable[[int], object] | None) -> "Iterator[Finding]":
    yield from checker.findings(_texts(name), progress)


def _line(name: str, finding: "Finding") -> str:
    """A finding as linters write it."""
    best = finding.alternatives[0]
    place = f"{_shown(name)}:{finding.line}:{finding.column}"
    return f'{place}: "{finding.word}" is unlikely here; did you mean "{best.word}"? (x {_times(best.odds)})'


def _json(name: str, finding: "Finding") -> str:
    return json.dumps(
        {
            "file": name,
            "line": finding.line,
            "column": finding.column,
            "word": finding.word,
            "odds": _rounded(finding.alternatives[0].odds),
            "alternatives": [
                {"word": one.word, "ratio": _rounded(one.ratio), "odds": _rounded(one.odds)}
                for one in finding.alternatives
            ],
        },
        ensure_ascii=False,
    )


def _shown(name: str) -> str:
    return name if name == STDIN else shown(name)


def _times(odds: float) -> str:
    return f"{odds:,.0f}" if odds < 1e6 else f"{odds:.0e}"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


@contextmanager
def _progress(console: "Console", names: list[str]) -> "Iterator[Callable[[int], object] | None]":
    """While texts are read: show on a terminal how far, and how long it will take.

    Yields:
        What is to be told how many more bytes were read; None where nothing can be shown.
    """
    if not console.is_animated:
        yield None
        return
    from tqdm import tqdm

    sizes = [0 if name == STDIN else _size(name) for name in names]
    total = sum(sizes) if all(sizes) else None
    with tqdm(desc="checking", total=total, unit="B", unit_scale=True, leave=False, delay=1.0, file=sys.stderr) as bar:
        yield bar.update


def _size(name: str) -> int:
    try:
        return os.path.getsize(name)
    except OSError:
        return 0  # reading it will say why
