r"""The two streams: results on stdout, everything else on stderr, and no colour unless it is a terminal.

Model text is written as bytes: exact in a pipe, with control characters shown as ``\x1b`` on a terminal. rich and tqdm
are imported only where a table or a bar is drawn, so that `complete` starts at once.
"""

import errno
import os
import sys
import time
from typing import IO, Any

import typer

from gru_complete.errors import EnvironmentFailure

BOLD_RED = "\x1b[1;31m"
PLAIN = "\x1b[0m"
HARMFUL = frozenset(
    chr(code)
    for codes in (range(0x20), range(0x7F, 0xA0), range(0x2028, 0x202F), range(0x2066, 0x206A))
    for code in codes
    if chr(code) not in "\t\n"
)
"""Characters of a text that may steer a terminal: C0, C1, line separators, embeddings and isolates of directions.

All others are shown, also those that ``str.isprintable`` does not count: scripts need their spaces, marks and joiners.
"""


class Console:
    """The two streams, and the decisions about them; a command line makes one as the first thing it does.

    Args:
        color: "auto", "always" or "never", as ``--color`` says; auto looks at the terminal, NO_COLOR and TERM.

    Attributes:
        started: the ``time.monotonic()`` at which the command line began, before torch is imported. Time limits of
            commands count from here: from the key press, but for the tenth of a second that Python takes to start.
    """

    def __init__(self, color: str = "auto") -> None:
        self.color = color
        self.started = time.monotonic()

    def has_color(self, stream: IO[str] | None) -> bool:
        """Whether colour codes may go to a stream."""
        if self.color != "auto":
            return self.color == "always"
        return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @property
    def is_animated(self) -> bool:
        """Whether stderr can show a moving progress bar."""
        return is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"

    def note(self, message: str) -> None:
        """Write a line to stderr, or several; nothing in it can steer the terminal."""
        _write_error(terminal_text(message))

    def error(self, message: str, hint: str | None = None) -> None:
        """Write to stderr what went wrong, and what to do about it."""
        label = f"{BOLD_RED}error:{PLAIN}" if self.has_color(sys.stderr) else "error:"
        _write_error(f"{label} {terminal_text(message)}")
        if hint is not None:
            _write_error(f"hint: {terminal_text(hint)}")

    def check_output(self) -> None:
        """Refuse, before any work, to run without a stdout.

        Raises:
            EnvironmentFailure: stdout is closed.
        """
        if sys.stdout is None:
            raise EnvironmentFailure("standard output is closed")

    def write(self, data: bytes) -> None:
        """Write a piece of the result to stdout at once: exact in a pipe, escaped on a terminal.

        Raises:
            EnvironmentFailure: stdout is closed, or its disk is full.
            typer.Exit: with code 0, if the reader has gone (`| head -1`).
        """
        self.check_output()
        try:
            if is_terminal(sys.stdout):
                sys.stdout.write(terminal_text(data.decode("utf-8", "backslashreplace"), sys.stdout.encoding))
            else:
                sys.stdout.buffer.write(data)
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_stdout()
            raise typer.Exit(0) from None
        except OSError as error:
            _abandon_stdout()
            reason = "no space left on device" if error.errno == errno.ENOSPC else str(error.strerror).lower()
            raise EnvironmentFailure(f"cannot write output: {reason}") from None

    def print_table(self, table: Any) -> None:
        """Write a rich table (or any rich renderable) to stdout."""
        import io

        from rich.console import Console as RichConsole

        buffer = io.StringIO()
        has_color = self.has_color(sys.stdout)
        rich = RichConsole(
            file=buffer,
            force_terminal=has_color,
            no_color=not has_color,
            # rich writes no colours to a terminal without them, even if colour is forced.
            color_system="standard" if has_color and os.environ.get("TERM") in ("dumb", "unknown") else "auto",
            width=None if is_terminal(sys.stdout) else 100,
        )
        rich.print(table)
        # Without the spaces at the ends of lines. The text of a table is ours, never the model's: nothing to escape.
        self._write_own("\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n")

    def _write_own(self, text: str) -> None:
        if is_terminal(sys.stdout):
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            self.write(text.encode())


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a stream is a terminal."""
    return stream is not None and stream.isatty()


def terminal_text(text: str, encoding: str = "utf-8") -> str:
    r"""Text of a model or a person that cannot steer a terminal: ``HARMFUL`` characters become ``\x1b``, ``\u202e``.

    Args:
        text: anything.
        encoding: of the terminal; what it cannot show is escaped too.
    """
    if not text.isprintable():
        text = "".join(ascii(character)[1:-1] if character in HARMFUL else character for character in text)
    return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def _write_error(message: str) -> None:
    if sys.stderr is None:
        return
    try:
        print(message, file=sys.stderr, flush=True)
    except (OSError, UnicodeEncodeError):
        return  # there is nowhere to write to; the exit code has to do


def _abandon_stdout() -> None:
    """Redirect stdout to nowhere, so that Python's own flush at exit does not complain about the broken stream."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
    except (OSError, ValueError):
        return
