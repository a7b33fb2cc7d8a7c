import pytest

from gru_complete.training.schedule import START_DIVISOR, one_cycle


def rates(max_steps, warmup):
    return [one_cycle(step, max_steps=max_steps, peak=1.0, warmup=warmup) for step in range(1, max_steps + 1)]


def test_the_rate_rises_to_the_peak_at_the_end_of_the_warm_up():
    assert one_cycle(10, max_steps=100, peak=2.0, warmup=0.1) == 2.0
    assert one_cycle(5, max_steps=100, peak=1.0, warmup=0.1) == pytest.approx((1 + 1 / START_DIVISOR) / 2)


def test_the_rate_falls_to_zero_one_step_after_the_last():
    assert one_cycle(101, max_steps=100, peak=1.0, warmup=0.1) == pytest.approx(0.0, abs=1e-12)
    assert 0 < rates(100, 0.1)[-1] < 0.001


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("max_steps", [1, 2, 3, 100])
def test_every_rate_is_positive_and_at_most_the_peak(max_steps, warmup):
    assert all(0 < rate <= 1 for rate in rates(max_steps, warmup))


def test_without_warm_up_the_rate_only_falls():
    found = rates(20, 0.0)
    assert found == sorted(found, reverse=True)
