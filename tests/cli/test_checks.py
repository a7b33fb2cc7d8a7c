import math

import pytest

from gru_complete.cli.checks import check_choice, check_minutes, check_minutes_or_steps, check_stdin_once
from gru_complete.errors import UsageError


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf])
def test_a_time_limit_is_a_positive_number(minutes):
    check_minutes(0.001)
    with pytest.raises(UsageError, match="--minutes must be a number above 0"):
        check_minutes(minutes)


def test_one_training_has_one_limit():
    check_minutes_or_steps("5", None)
    check_minutes_or_steps(None, "100")
    check_minutes_or_steps(None, None)
    with pytest.raises(UsageError, match="mutually exclusive"):
        check_minutes_or_steps("5", "100")


def test_a_value_that_is_no_choice_is_named_with_the_choices():
    check_choice("--cell", "gru", ["gru", "lstm"])
    with pytest.raises(UsageError, match="--cell must be one of gru, lstm, not 'gnu'"):
        check_choice("--cell", "gnu", iter(["gru", "lstm"]))


def test_standard_input_is_read_once():
    check_stdin_once(["a.txt", "-"])
    with pytest.raises(UsageError, match="only be read once"):
        check_stdin_once(["-", "a.txt", "-"])
