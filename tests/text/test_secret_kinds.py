"""The parts that detectors are made of."""

from hypothesis import given
from hypothesis import strategies as st

from gru_complete.text import secret_kinds


@given(st.from_regex(secret_kinds._CARD, fullmatch=True))
def test_the_pattern_of_a_card_is_tried_wherever_it_matches(number):
    assert list(secret_kinds._word_starts(b"x " + number, secret_kinds._CARD_SHAPES, 0)) == [2]


@given(st.text(alphabet="0123456789", min_size=14, max_size=19))
def test_the_check_digit_of_a_card_is_luhns(digits):
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    assert secret_kinds._has_luhn_digit(digits.encode()) == (
        sum(int(digit) for number in doubled for digit in str(number)) % 10 == 0
    )
