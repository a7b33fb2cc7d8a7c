import math

import numpy as np
import pytest

from gru_complete.runtime.logprobs import token_logprobs

TEXTS = [b"", b" the", b" a", b"\xe2"]
SCORES = np.log(np.array([1, 4, 2, 1], np.float32)) + 7


def test_a_token_has_its_log_probability_and_the_most_likely_rivals():
    token = token_logprobs(TEXTS, SCORES, 2, 3)
    assert (token.text, token.logprob) == (b" a", pytest.approx(math.log(2 / 8)))
    assert [(rival.text, round(math.exp(rival.logprob), 6)) for rival in token.top] == [
        (b" the", 0.5),
        (b" a", 0.25),
        (b"", 0.125),
    ]


def test_zero_rivals_and_more_than_there_are_may_be_requested():
    assert token_logprobs(TEXTS, SCORES, 0, 0).top == ()
    assert len(token_logprobs(TEXTS, SCORES, 0, 100).top) == 4


def test_an_impossible_token_is_not_a_rival():
    scores = np.array([0, -np.inf, 0, -np.inf])
    token = token_logprobs(TEXTS, scores, 0, 3)
    assert [rival.text for rival in token.top] == [b"", b" a"]
    assert token.logprob == pytest.approx(math.log(0.5))
