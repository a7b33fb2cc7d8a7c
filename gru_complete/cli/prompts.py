"""The text so far: from files, the command line and standard input, in blocks or line by line.

What is yielded here are the bytes as they were given, in UTF-8; ``text/prompts.py`` makes of them what the model reads.

Only single lines are held in memory as a whole, and the text that is edited with ``-i``.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gru_complete.errors import CorpusError, EnvironmentFailure, GruCompleteError, UsageError, printable
from gru_complete.storage.os_calls import is_shortage
from gru_complete.text.prompts import PromptSource, prompt_source, read_prompt

if TYPE_CHECKING:
    from gru_complete.cli.console import Console

STDIN = "-"
BLOCK_BYTES = 1 << 16
MAX_LINE_BYTES = 1 << 20
_LINES_AHEAD = 128  # lines that are read while others are being completed
_PATIENCE_SECONDS = 1.0  # before a progress bar appears
_PAUSE_SECONDS = 0.01


def text_sources(prompt: str | None, file: Path | None, *, drops_newline: bool = True) -> Iterator[PromptSource]:
    """The text so far: the file's, then PROMPT or standard input.

    Args:
        prompt: "-" is standard input, and so is None without a file.
        file: text that comes before.
        drops_newline: whether one final newline of standard input is dropped (LF or CRLF).

    Raises:
        CorpusError: the file or standard input cannot be read.
        UsageError: no prompt is given, and standard input is a terminal.
    """
    if file is not None:
        yield file_source(file)
    if prompt is not None and prompt != STDIN:
        yield prompt_source("", [os.fsencode(prompt)], what="PROMPT", command=None)
    elif prompt == STDIN or file is None:
        if sys.stdin is None or (prompt is None and sys.stdin.isatty()):
            raise UsageError("no text to continue", hint='give it as in: gru-complete complete "Mr Watson goes"')
        source = stdin_source()
        yield source._replace(blocks=without_final_newline(source.blocks)) if drops_newline else source


def text_to_edit(prompt: str | None, file: Path | None, *, drops_newline: bool = True) -> bytes:
    """The initial text of the editor: PROMPT or standard input as they are, or nothing.

    Args:
        prompt: "-" is standard input, and so is None if input is piped in and there is no file.
        file: text that comes before and is not edited.
        drops_newline: as in ``text_sources``.

    Raises:
        CorpusError: standard input cannot be read, or is not text.
        UsageError: it is closed.
    """
    if prompt is None and (file is not None or sys.stdin is None or sys.stdin.isatty()):
        return b""
    kept: list[bytes] = []
    sources = text_sources(prompt, None, drops_newline=drops_newline)
    sources = (source._replace(blocks=tee(source.blocks, kept.append)) for source in sources)
    for _ in read_prompt(sources, None):  # refuses what is not text
        pass
    return b"".join(kept)


def tee(blocks: Iterable[bytes], to: Callable[[bytes], object]) -> Iterator[bytes]:
    """The blocks, each after ``to`` was called with it."""
    for block in blocks:
        to(block)
        yield block


def file_source(path: Path) -> PromptSource:
    """A file as a part of the text so far."""
    return prompt_source(str(path), file_blocks(path))


def stdin_source() -> PromptSource:
    """Standard input as a part of the text so far."""
    return prompt_source(STDIN, stdin_blocks())


def file_blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        raise _unreadable(f"'{printable(path)}'", error) from None


def stdin_blocks() -> Iterator[bytes]:
    """The bytes of standard input, as they come.

    Raises:
        CorpusError: it cannot be read.
        UsageError: it is closed.
    """
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    # Unbuffered: if a thread still waited for the buffer while Python exits, that would be a fatal error.
    stream = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    try:
        while (block := stream.read(BLOCK_BYTES)) != b"":
            if block is None:  # another program has made the stream non-blocking, and there is nothing to read yet
                time.sleep(_PAUSE_SECONDS)
            else:
                yield block
    except OSError as error:
        raise _unreadable("standard input", error) from None


def _unreadable(what: str, error: OSError) -> CorpusError | EnvironmentFailure:
    """The error of a text that cannot be read, which is the machine's fault if it has too little of something."""
    kind = EnvironmentFailure if is_shortage(error) else CorpusError
    return kind(f"cannot read {what}: {str(error.strerror).lower()}")


def without_final_newline(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A text without the final newline that ``echo`` adds, LF or CRLF."""
    held = b""
    for block in blocks:
        block = held + block
        text = block.removesuffix(b"\n").removesuffix(b"\r")
        held = block[len(text) :]
        if text:
            yield text
    if held == b"\r":
        yield held


class PromptLines:
    r"""The lines of standard input; a thread reads a few ahead, so that asking for the next one need not wait.

    A line ends with a newline (``\n`` or ``\r\n``); the last one may have none.

    Args:
        end: what ends a line: a newline or NUL.
    """

    def __init__(self, end: bytes) -> None:
        import queue  # here, so that a single prompt need not wait for it

        self._end = end
        self._none_yet = queue.Empty
        self._lines: queue.Queue[bytes | GruCompleteError | None] = queue.Queue(_LINES_AHEAD)
        threading.Thread(target=self._read, daemon=True).start()

    def take(self, waits: bool) -> bytes | None:
        """Return the next line; None if it has not arrived and ``waits`` is off.

        Raises:
            EOFError: there are no more lines.
            CorpusError: standard input cannot be read or is not text, or a line is too long.
        """
        try:
            line = self._lines.get(block=waits)
        except self._none_yet:
            return None
        if isinstance(line, bytes):
            return line
        self._lines.put(line)  # for the next call
        raise EOFError if line is None else line

    def _read(self) -> None:
        try:
            for line in split_lines(stdin_source().blocks, self._end):
                self._lines.put(line)
            self._lines.put(None)
        except GruCompleteError as error:
            self._lines.put(error)


def split_lines(blocks: Iterable[bytes], end: bytes) -> Iterator[bytes]:
    """The lines of a text, without their ends.

    Raises:
        CorpusError: a line is longer than ``MAX_LINE_BYTES``.
    """
    carry = b""
    number = 0
    for block in blocks:
        *lines, carry = (carry + block).split(end)
        for line in lines:
            number += 1
            _check_length(line, number)
            yield line.removesuffix(b"\r") if end == b"\n" else line
        _check_length(carry, number + 1)
    if carry:
        yield carry


def _check_length(line: bytes, number: int) -> None:
    if len(line) > MAX_LINE_BYTES:
        message = f"line {number:,} of standard input is longer than {MAX_LINE_BYTES:,} bytes"
        raise CorpusError(message, hint="complete a long text without --lines and -0")


@contextmanager
def reading_progress(console: "Console") -> Iterator[Callable[[int], None] | None]:
    """While a text is read, show on a terminal how much of it, if it takes more than a second.

    Yields:
        A function that takes the number of bytes read so far; None off a terminal.
    """
    if not console.is_animated:
        yield None
        return
    started = time.monotonic()
    bars: list[Any] = []

    def progress(num_bytes: int) -> None:
        if not bars:
            if time.monotonic() - started < _PATIENCE_SECONDS:
                return
            from tqdm import tqdm  # here, since hardly any text takes that long

            bars.append(tqdm(desc="reading", unit="B", unit_scale=True, leave=False, file=sys.stderr))
        bars[0].update(num_bytes - bars[0].n)

    try:
        yield progress
    finally:
        for bar in bars:
            bar.close()
