"""Checks of options that several commands share, each with one wording of its refusal."""

import math
from collections.abc import Iterable, Sequence

from gru_complete.cli.prompts import STDIN
from gru_complete.errors import UsageError

RECALL_LENGTHS = (2, 5_000)
"""The least and the most steps over which a cell may be asked to remember."""


def check_minutes_or_steps(minutes: str | None, steps: str | None) -> None:
    """Refuse two limits of one training.

    Raises:
        UsageError: both ``--minutes`` and ``--steps`` were given.
    """
    if minutes is not None and steps is not None:
        raise UsageError("--minutes and --steps are mutually exclusive")


def check_minutes(minutes: float) -> None:
    """Refuse a time limit that is no positive, finite number.

    Raises:
        UsageError: names the value.
    """
    if not 0 < minutes < math.inf:
        raise UsageError(f"--minutes must be a number above 0, not {minutes}")


def check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is not among the choices.

    Raises:
        UsageError: names the option, its choices and the value.
    """
    choices = list(choices)
    if value not in choices:
        raise UsageError(f"{option} must be one of {', '.join(choices)}, not {value!r}")


def check_stdin_once(sources: Sequence[str]) -> None:
    """Refuse to read standard input twice.

    Raises:
        UsageError: "-" is given several times.
    """
    if sources.count(STDIN) > 1:
        raise UsageError("standard input ('-') can only be read once")
