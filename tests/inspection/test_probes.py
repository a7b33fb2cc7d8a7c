import math

import numpy as np
import pytest

from gru_complete.inspection.probes import Unit, fit_thresholds, probe, state_units


def test_the_best_cut_and_its_side_are_found():
    values = np.array([[0.1, 5.0, 1.0], [0.2, 4.0, 1.0], [0.6, 1.0, 1.0], [0.9, 2.0, 1.0]])
    labels = np.array([False, False, True, True])
    fitted = fit_thresholds(values, labels)
    assert fitted.cuts[:2] == pytest.approx([0.4, 3.0])
    assert fitted.signs[:2].tolist() == [1, -1]
    assert fitted.accuracies.tolist() == [1.0, 1.0, 0.5]  # equal values cannot be parted
    assert fitted.predict(np.array([[0.5, 0.0, 0.0]]), 0).tolist() == [True]
    assert fitted.predict(np.array([[0.5, 0.0, 0.0]]), 1).tolist() == [True]


@pytest.mark.parametrize("seed", range(5))
def test_no_cut_is_better_than_the_one_found(seed):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 6, size=(30, 4)).astype(float)  # with many equal values
    labels = generator.random(30) < 0.4
    fitted = fit_thresholds(values, labels)
    for column in range(4):
        by_hand = max(
            ((values[:, column] > cut) == labels if sign > 0 else (values[:, column] <= cut) == labels).mean()
            for cut in np.arange(-0.5, 6)
            for sign in (1, -1)
        )
        assert fitted.accuracies[column] == pytest.approx(by_hand)
        right = fitted.predict(values, column) == labels
        assert fitted.balanced[column] == pytest.approx((right[labels].mean() + right[~labels].mean()) / 2)
        assert (fitted.predict(values, column) == labels).mean() == pytest.approx(by_hand)


def places(number=400, seed=0):
    """Three units: noise, one that tells all, one that tells three places in four."""
    generator = np.random.default_rng(seed)
    labels = generator.random(number) < 0.5
    told = np.where(generator.random(number) < 0.75, labels, ~labels)
    values = np.column_stack([generator.normal(size=number), labels - 0.5, told + 0.1 * generator.random(number)])
    return values, labels, np.arange(number) % 2 == 0


def test_the_unit_that_tells_comes_first_with_its_accuracy_on_the_other_half():
    values, labels, fitted = places()
    found = probe(values, labels, fitted, state_units((1, 1, 3)), are_independent=True)
    first, second, third = found.followers
    assert [follower.unit.unit for follower in (first, second, third)] == [1, 2, 0]
    assert first.accuracy.value == first.balanced == 1.0
    assert first.accuracy.low == pytest.approx(200 / (200 + 1.959964**2))  # Wilson, for 200 of 200
    assert second.accuracy.low < 0.75 < second.accuracy.high
    assert found.linear.value == 1.0
    common = labels[fitted].mean() >= 0.5
    assert found.majority == (labels[~fitted] == common).mean()
    assert (found.num_fit, found.num_tried) == (200, 200)


def test_of_a_rare_feature_a_unit_that_sees_it_is_chosen_before_one_that_always_says_no():
    number = np.arange(400)
    labels = number % 20 < 1  # one place in twenty
    sees = np.where(number % 20 < 2, 1.0, 0.0) + 0.5 * (number % 100 < 1)  # it, and as often something else
    values = np.column_stack([np.zeros(400), np.where(labels, 0.5 + number / 1000, 0.0), sees])
    found = probe(values, labels, number < 200, state_units((1, 1, 3)), are_independent=True)
    assert [follower.unit.unit for follower in found.followers] == [1, 2, 0]
    assert found.followers[2].balanced == 0.5


def test_a_half_that_was_not_fitted_on_decides():
    labels = np.arange(200) % 3 == 0
    values = np.column_stack([np.where(np.arange(200) < 100, labels, 0.0), np.arange(200)])
    found = probe(values, labels, np.arange(200) < 100, state_units((1, 1, 2)), are_independent=True)
    assert found.followers[0].unit.unit == 0
    assert found.followers[0].accuracy.value == (~labels[100:]).mean()


def test_dependent_places_have_the_interval_of_blocks():
    labels = np.tile([True, False], 200)
    values = labels[:, None].astype(float)
    values[300:] = 0.0  # where the unit stops following for a long stretch
    fitted = np.arange(400) < 200
    alone = probe(values, labels, fitted, state_units((1, 1, 1)), are_independent=True).followers[0].accuracy
    blocks = probe(values, labels, fitted, state_units((1, 1, 1)), are_independent=False).followers[0].accuracy
    assert alone.value == blocks.value == 0.75
    assert blocks.high - blocks.low == pytest.approx(2 * 1.959964 * math.sqrt(20 / 19 * 0.0625 / 20))
    assert 0 < blocks.low < blocks.high <= 1


def test_the_numbers_of_a_state_have_names():
    assert state_units((2, 2, 2))[5:7] == [Unit(1, False, 1), Unit(1, True, 0)]
    assert Unit(1, True, 0).to_json() == {"layer": 2, "unit": 0, "is_cell": True}
