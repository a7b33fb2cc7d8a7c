"""Everything a user can get wrong: one exception tree, each branch with an exit code and room for a hint.

The library raises these; only ``cli`` turns them into a line on stderr and an exit code. A message says what happened
and where, on one line (a config may list several problems); the hint says what to do about it.
"""

from pathlib import Path


class GruCompleteError(Exception):
    """The root of the tree: an expected failure with a message for the user.

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
        hint: how to go on.
    """

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def printable(name: str | Path) -> str:
    r"""A name as it may stand in a message: control characters, escapes and bidi marks as ``\x1b``."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(name))
