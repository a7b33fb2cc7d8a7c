"""Checks of options that several commands share, each with one wording of its refusal."""

import math
from collections.abc import Iterable, Sequence

from gru_complete.cli.prompts import STDIN
from gru_complete.errors import UsageError
from gru_complete.runtime.options import MAX_BEAM, MAX_COMPLETIONS, MAX_WORDS, CompletionOptions, check_range

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


def check_numbers(options: CompletionOptions, number: int, words: int) -> None:
    """Check how many completions or words are requested, before any work.

    Args:
        options: how completions are drawn.
        number: of completions.
        words: the number of words to list.

    Raises:
        UsageError: a number is outside its range.
    """
    uses_beam = options.beam > 0 or options.sampling.temperature == 0
    if uses_beam and number > MAX_BEAM:
        how = "with --beam" if options.beam else "at temperature 0"
        hint = f"ask for {MAX_BEAM} at most, or draw them: --temperature 0.7 without --beam"
        raise UsageError(f"-n {number}: {how} completions are found by beam search, {MAX_BEAM} at most", hint=hint)
    check_range("-n", number, 1, MAX_COMPLETIONS)
    check_range("--words", words, 0, MAX_WORDS)
