"""Every failure that the program expects: one tree of exceptions, each with its exit code.

::

    GruCompleteError          70  an internal error, if nothing below it fits
    ├── UsageError             2  the command line asks for something that cannot be done
    │   └── ConfigError        2  a config file or a --set option is not usable
    ├── CorpusError            3  the input text cannot be used
    ├── ModelError             4  a model is missing, damaged or not ours
    ├── EnvironmentFailure     5  the machine refused: disk full, permission denied, ...
    ├── BusyError              6  another process works in the same run directory
    ├── DivergedError          7  training produced numbers that are not finite
    └── InterruptedRun     128+N  signal N ended the work, after its state was saved

The library raises them; only ``cli`` turns one into a line on stderr and an exit code. The message says what happened
and where, on one line (a config may list several problems); the hint says what to do about it.
"""

from pathlib import Path


class GruCompleteError(Exception):
    """An expected failure, with a message for the user.

    Args:
        message: what happened and where; no trailing period, no private text.
        hint: what to do about it.
    """

    exit_code = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(GruCompleteError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file or a ``--set`` option is not usable."""


class CorpusError(GruCompleteError):
    """The input text (corpus or prompt) cannot be used."""

    exit_code = 3


class ModelError(GruCompleteError):
    """A model or checkpoint is missing, damaged or not ours."""

    exit_code = 4


class EnvironmentFailure(GruCompleteError):
    """The machine refused: disk full, permission denied, memory exhausted, output closed."""

    exit_code = 5


class BusyError(GruCompleteError):
    """Another process holds the lock of this run directory."""

    exit_code = 6


class DivergedError(GruCompleteError):
    """Training produced numbers that are not finite and could not recover."""

    exit_code = 7


class InterruptedRun(GruCompleteError):
    """A signal ended the work after its state was saved.

    Args:
        message: what was saved and where.
        signal_number: the signal received; the exit code is 128 plus this number.
        hint: how to continue.
    """

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def printable(text: str | Path) -> str:
    r"""Escape every character that could steer a terminal, so that any file name or input is safe in a message.

    Control characters, escape sequences, line breaks and marks that reverse the direction of writing become ``\x1b``,
    ``\n``, ``\u202e``. All text that did not come from this program passes through here before it is shown.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))


def shell_word(text: str | Path) -> str:
    r"""A text as one word of a command that can be pasted into a shell, and is safe to print.

    Everything in a command of a message that did not come from this program passes through here. What cannot be printed
    is written as in ``$'\x1b'``, which bash, zsh and most others know (it is in POSIX since 2024).
    """
    import shlex  # here, since only messages need it

    word = str(text)
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(
        f"\\{char}" if char in "\\'" else char if char.isprintable() else _escaped_bytes(char) for char in word
    )
    return f"$'{escaped}'"


def _escaped_bytes(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
