import pytest

from gru_complete.evaluation.intervals import mean_interval, ratio_interval, share_interval


def test_the_intervals_of_a_share_and_a_mean():
    share = share_interval(8, 10)  # Wilson 1927, as in Agresti and Coull 1998
    assert share == pytest.approx((0.8, 0.4901, 0.9433), abs=1e-4)
    assert share_interval(0, 0) == (0, 0, 1)
    assert share_interval(5, 5).high == 1
    mean = mean_interval([1.0, 2.0, 3.0, 4.0])
    assert mean.value == 2.5
    assert mean.high - mean.value == pytest.approx(1.959964 * (5 / 3 / 4) ** 0.5)
    assert mean_interval([1.0]).to_json() == {"value": 1, "low": None, "high": None}


def test_the_interval_of_a_share_holds_it_whatever_is_rounded():
    for trials in [*range(1, 200), 1_000, 12_345, 10**6, 10**9]:
        for hits in sorted({0, 1, trials // 3, trials // 2, trials - 1, trials}):
            interval = share_interval(hits, trials)
            assert 0 <= interval.low <= interval.value <= interval.high <= 1
        assert share_interval(trials, trials).high == 1
        assert share_interval(0, trials).low == 0


def test_the_interval_of_a_ratio():
    # Ratio 6 / 12; rests 1 - 2, 2 - 2, 3 - 2: variance (1 + 0 + 1) / 2 = 1, of the sum 3, so 1.96 * sqrt(3) / 12.
    assert ratio_interval([1, 2, 3], [4, 4, 4]) == pytest.approx((0.5, 0.5 - 0.28290, 0.5 + 0.28290), abs=1e-5)
    assert ratio_interval([1], [4]).to_json() == {"value": 0.25, "low": None, "high": None}
