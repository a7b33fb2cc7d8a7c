import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.errors import ModelError, UsageError
from gru_complete.runtime.constraints import Constraints
from gru_complete.runtime.options import SamplingOptions
from gru_complete.runtime.sampling import candidates, draw

EIGHTHS = np.log(np.array([1, 2, 4, 1], dtype=np.float32) / 8)  # probabilities 1/8, 1/4, 1/2, 1/8

PLAIN = {"temperature": 1.0, "min_p": 0.0}


def distribution(logits, options, *, recent=()):
    """The probability of every token, 0 for those filtered out."""
    tokens, weights = candidates(logits, options, recent=recent)
    probabilities = np.zeros(len(logits))
    probabilities[tokens] = weights / weights.sum()
    return probabilities


def chances(logits=EIGHTHS, *, recent=(), mask=None, **options):
    allowed = logits if mask is None else Constraints(mask).apply(logits)
    return distribution(allowed, SamplingOptions(**{**PLAIN, **options}), recent=recent).round(6).tolist()


def test_at_temperature_one_the_distribution_is_the_softmax():
    assert chances() == [0.125, 0.25, 0.5, 0.125]


def test_temperature_raises_each_probability_to_its_inverse():
    # squares of 1, 2, 4, 1 eighths are 1, 4, 16, 1 sixty-fourths: they sum to 22
    assert chances(temperature=0.5) == [round(x / 22, 6) for x in (1, 4, 16, 1)]


def test_temperature_zero_takes_the_most_likely_token():
    assert chances(temperature=0) == [0, 0, 1, 0]


def test_temperature_zero_takes_the_lowest_of_equals():
    assert chances(np.array([1.0, 2.0, 2.0]), temperature=0) == [0, 1, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-308, 1e-30, 1e-3])
def test_a_tiny_temperature_is_greedy_and_does_not_overflow(temperature):
    assert chances(temperature=temperature) == [0, 0, 1, 0]


def test_a_high_temperature_levels_what_the_filters_left():
    assert chances(temperature=100, top_k=2) == pytest.approx([0, 0.5, 0.5, 0], abs=0.01)


def test_top_k_keeps_the_k_most_likely():
    assert chances(top_k=2) == [0, round(1 / 3, 6), round(2 / 3, 6), 0]


def test_top_k_keeps_the_lower_ids_of_equals():
    assert chances(top_k=3) == [round(1 / 7, 6), round(2 / 7, 6), round(4 / 7, 6), 0]


def test_top_k_above_the_vocabulary_keeps_all():
    assert chances(top_k=1000) == chances()


@pytest.mark.parametrize(("top_p", "kept"), [(0.001, 1), (0.49, 1), (0.51, 2), (0.74, 2), (0.76, 3), (0.9, 4), (1, 4)])
def test_top_p_keeps_the_fewest_that_reach_it(top_p, kept):
    assert np.count_nonzero(chances(top_p=top_p)) == kept


def test_top_p_counts_after_top_k():
    # top-k leaves 1/4 and 1/2, so the most likely alone has 2/3 of what is left
    assert chances(top_k=2, top_p=0.6) == [0, 0, 1, 0]


@pytest.mark.parametrize(("min_p", "kept"), [(0, 4), (0.2, 4), (0.3, 2), (0.6, 1), (1, 1)])
def test_min_p_keeps_tokens_at_least_that_many_times_as_likely_as_the_most_likely(min_p, kept):
    assert np.count_nonzero(chances(min_p=min_p)) == kept


def test_min_p_counts_before_the_temperature():
    assert np.count_nonzero(chances(min_p=0.2, temperature=0.01)) <= 4
    assert np.count_nonzero(chances(min_p=0.3, temperature=100)) == 2


def test_min_p_counts_after_top_p():
    assert np.count_nonzero(chances(top_p=0.76, min_p=0.3)) == 2


def test_typical_first_keeps_tokens_about_as_surprising_as_the_mean():
    # surprisals in bits: 3, 2, 1, 3, their mean 1.75: nearest are 2, then 1, then both 3s
    assert chances(typical=0.2) == [0, 1, 0, 0]
    assert chances(typical=0.7) == [0, round(1 / 3, 6), round(2 / 3, 6), 0]
    assert chances(typical=0.8) == [round(1 / 7, 6), round(2 / 7, 6), round(4 / 7, 6), 0]
    assert chances(typical=1) == chances()


def test_typical_counts_after_top_k_and_before_top_p():
    # top-k leaves 1/4 and 1/2: surprisals 1.58 and 0.58 bits, their mean 0.92; nearest is the likelier
    assert chances(top_k=2, typical=0.2) == [0, 0, 1, 0]
    # typical leaves 1/4 and 1/2, of which the likelier alone has 2/3
    assert chances(typical=0.7, top_p=0.6) == [0, 0, 1, 0]


def test_min_p_and_temperature_zero_use_the_most_likely_token_that_typical_leaves():
    assert chances(typical=0.2, min_p=0.9) == [0, 1, 0, 0]
    assert chances(typical=0.2, temperature=0) == [0, 1, 0, 0]
    assert chances(typical=0.8, temperature=0) == [0, 0, 1, 0]


@pytest.mark.parametrize("temperature", [0, 1e-300, 1])
def test_a_blocked_token_is_impossible_unless_there_is_no_other(temperature):
    blocked = Constraints(np.zeros(len(EIGHTHS)), blocked=[2]).apply(EIGHTHS)
    assert candidates(blocked, SamplingOptions(temperature, min_p=0))[0].tolist().count(2) == 0
    everything = Constraints(np.zeros(len(EIGHTHS)), blocked=range(len(EIGHTHS))).apply(EIGHTHS)
    blocked = distribution(everything, SamplingOptions(temperature))
    assert blocked.tolist() == distribution(EIGHTHS, SamplingOptions(temperature)).tolist()
    assert EIGHTHS[2] > -1


def test_a_masked_token_is_impossible():
    mask = np.array([0, 0, -np.inf, 0], dtype=np.float32)
    assert chances(mask=mask) == [0.25, 0.5, 0, 0.25]
    assert chances(mask=mask, top_p=0.5, temperature=2)[2] == 0
    assert chances(mask=mask, temperature=0) == [0, 1, 0, 0]


def test_repetition_penalty_divides_positive_scores_and_multiplies_negative_ones():
    logits = np.array([2.0, -3.0, 1.0])
    penalised = np.exp([2.0 / 2, -3.0 * 2, 1.0])
    assert chances(logits, recent=[0, 1, 0], repetition_penalty=2.0) == (penalised / penalised.sum()).round(6).tolist()


def test_repetition_penalty_does_not_depend_on_the_constant_up_to_which_scores_are_known():
    logits, mask = np.array([2.0, -3.0, 1.0, 9.0]), np.array([0, 0, 0, -np.inf])
    settings = {"recent": [0, 1], "mask": mask, "repetition_penalty": 2.0}
    assert chances(logits + 5, **settings) == chances(logits, **settings)
    assert chances(logits, **settings)[3] == 0


def test_repetition_penalty_does_not_change_its_argument():
    logits = np.array([2.0, -1.0, 1.0])
    chances(logits, recent=[0, 1], repetition_penalty=2.0)
    assert logits.tolist() == [2.0, -1.0, 1.0]


def test_repetition_penalty_without_recent_tokens_changes_nothing():
    assert chances(repetition_penalty=2.0) == chances()


@pytest.mark.parametrize(("uniform", "index"), [(0.0, 1), (0.24, 1), (0.26, 3), (0.99, 3), (1 - 2**-53, 3)])
def test_draw_inverts_the_cumulative_distribution(uniform, index):
    assert draw(np.array([0, 0.25, 0, 0.75, 0]), uniform) == index
    assert draw(np.array([0, 1, 0, 3, 0]), uniform) == index


def test_draw_never_takes_an_impossible_token_even_where_sums_round():
    tenths = np.array([0.1] * 10 + [0.0])
    assert draw(tenths, 1 - 2**-53) == 9
    assert draw(tenths, 1.0) == 9


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_numbers_are_refused(bad):
    with pytest.raises(ModelError, match="not finite"):
        chances(np.array([0.0, bad, 1.0]))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("temperature", -0.1, "between 0 and 100"),
        ("temperature", math.nan, "between 0 and 100"),
        ("temperature", math.inf, "between 0 and 100"),
        ("top_k", -1, "between 0 and 1000000"),
        ("top_p", 0.0, "above 0 and at most 1"),
        ("top_p", 1.1, "above 0 and at most 1"),
        ("min_p", -0.1, "between 0 and 1"),
        ("min_p", 1.5, "between 0 and 1"),
        ("repetition_penalty", 0.0, "between 0.01 and 100"),
        ("repetition_penalty", math.nan, "between 0.01 and 100"),
        ("typical", 0.0, "above 0 and at most 1"),
        ("typical", 1.1, "above 0 and at most 1"),
    ],
)
def test_an_option_out_of_range_is_refused_with_the_range(option, value, said):
    with pytest.raises(UsageError, match=f"must be {said}, not"):
        SamplingOptions(**{option: value})


def test_the_defaults_are_the_documented_ones():
    assert vars(SamplingOptions()) == vars(SamplingOptions(0.7, 0, 1.0, 0.05, 1.0, 1.0))


finite_scores = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20)


@given(
    scores=finite_scores,
    options=st.builds(
        SamplingOptions,
        temperature=st.floats(0, 100),
        top_k=st.integers(0, 25),
        top_p=st.floats(0, 1, exclude_min=True),
        min_p=st.floats(0, 1),
        repetition_penalty=st.floats(0.01, 100),
        typical=st.floats(0, 1, exclude_min=True),
    ),
    recent=st.lists(st.integers(0, 0), max_size=2),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_every_allowed_option_gives_probabilities_and_a_token(scores, options, recent, uniform):
    logits = np.array(scores, dtype=np.float32)
    tokens, weights = candidates(logits, options, recent=recent)
    assert tokens.tolist() == sorted(set(tokens.tolist()))
    assert weights.max() == 1
    assert weights[draw(weights, uniform)] > 0
    assert distribution(logits, options, recent=recent).sum() == pytest.approx(1)
