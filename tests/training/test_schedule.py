import pytest

from gru_complete.training.schedule import START_DIVISOR, learning_rate


def rate(step, *, max_steps=100, warmup=0.1, decay=0.3):
    return learning_rate(step, max_steps=max_steps, peak=2.0, warmup=warmup, decay=decay)


def rates(max_steps, warmup, decay):
    return [rate(step, max_steps=max_steps, warmup=warmup, decay=decay) for step in range(1, max_steps + 1)]


def test_the_rate_rises_to_the_peak_at_the_end_of_the_warm_up():
    assert rate(10) == 2.0
    assert rate(5) == pytest.approx(1 + 1 / START_DIVISOR)


def test_the_rate_falls_to_zero_one_step_after_the_last():
    assert rate(101) == pytest.approx(0.0, abs=1e-12)
    assert 0 < rates(100, 0.1, 0.3)[-1] < 0.01


def test_between_rise_and_fall_the_rate_stays():
    found = rates(100, 0.1, 0.3)
    assert found[9:70] == [2.0] * 61
    assert found[70:] == sorted(found[70:], reverse=True)
    assert found[70] < 2.0


def test_a_fall_over_all_steps_begins_after_the_rise():
    assert rates(100, 0.1, 1.0) == rates(100, 0.1, 0.9)
    assert rates(100, 0.1, 1.0)[10] < 2.0


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("decay", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("max_steps", [1, 2, 3, 100])
def test_every_rate_is_positive_and_at_most_the_peak(max_steps, warmup, decay):
    assert all(0 < found <= 2 for found in rates(max_steps, warmup, decay))


def test_without_warm_up_the_rate_only_falls():
    found = rates(20, 0.0, 0.3)
    assert found == sorted(found, reverse=True)
