"""RecallStep bars on stderr. Only terminals get one, and tqdm is imported only where a bar is drawn."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from gru_complete.cli.prompts import STDIN

if TYPE_CHECKING:
    from tqdm import tqdm

    from gru_complete.cli.console import Console
    from gru_complete.comparison.recall import RecallStep

BAR_FORMAT = "{percentage:3.0f}% |{bar:20}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"
RECALL_FORMAT = "{desc}: {percentage:3.0f}% |{bar}| at most {remaining} left{postfix}"


def stage_bar(stage: str) -> "tqdm[Any]":
    """A line that names a stage of unknown length and the seconds since it began."""
    from tqdm import tqdm

    return tqdm(desc=stage, bar_format="{desc} ... {elapsed}", leave=False, file=sys.stderr)


def step_bar(total: int, *, done: int) -> "tqdm[Any]":
    """A bar of training steps, ``done`` of which were made in an earlier session."""
    from tqdm import tqdm

    return tqdm(total=total, initial=done, bar_format=BAR_FORMAT, dynamic_ncols=True, leave=False, file=sys.stderr)


def recall_bar(label: str, seconds: float) -> "tqdm[Any]":
    """A bar of the most time that training on a recall task may take: when the task will be learnt is not known."""
    from tqdm import tqdm

    return tqdm(desc=label, total=seconds, bar_format=RECALL_FORMAT, dynamic_ncols=True, leave=False, file=sys.stderr)


def show_recall(bar: "tqdm[Any]", progress: "RecallStep", seconds: float) -> None:
    """Update a ``recall_bar`` of ``seconds`` in all."""
    bar.set_postfix_str(f"length {progress.length}, {progress.right:.0%} right", refresh=False)
    bar.update(min(progress.seconds, seconds) - bar.n)


@contextmanager
def work_bar(console: "Console", label: str, total: int) -> "Iterator[Callable[[int], object] | None]":
    """A bar of ``total`` units of work while the block runs.

    Yields:
        A function that takes how many more units are done; None off a terminal.
    """
    if not console.is_animated:
        yield None
        return
    from tqdm import tqdm

    bar_format = f"{{desc}}: {BAR_FORMAT}"
    with tqdm(desc=label, total=total, bar_format=bar_format, dynamic_ncols=True, leave=False, file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def bytes_bar(console: "Console", label: str, names: Sequence[str]) -> "Iterator[tqdm[NoReturn] | None]":
    """A bar of the bytes read of some files while the block runs; it appears after a second.

    Yields:
        The bar, whose ``update`` takes how many more bytes were read; None off a terminal.
    """
    if not console.is_animated:
        yield None
        return
    from tqdm import tqdm

    sizes = [0 if name == STDIN else _size(name) for name in names]
    total = sum(sizes) if all(sizes) else None
    with tqdm(desc=label, total=total, unit="B", unit_scale=True, leave=False, delay=1.0, file=sys.stderr) as bar:
        yield bar


def _size(name: str) -> int:
    """The bytes of a file; 0 if it cannot be read, which the reader of the file reports."""
    try:
        return os.path.getsize(name)
    except OSError:
        return 0
