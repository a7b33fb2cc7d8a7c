import numpy as np
import pytest

from gru_complete.evaluation.calibration import Calibration
from gru_complete.evaluation.plots import draw_calibration
from gru_complete.training.scoring import TokenPredictions


def outcome(*pairs):
    """Predictions: how sure the model was, and whether it was right."""
    confidences, are_right = zip(*pairs, strict=True)
    return TokenPredictions(
        np.zeros(len(pairs)), np.array([0 if right else 2 for right in are_right]), np.array(confidences)
    )


def test_the_calibration_error_of_five_predictions_agrees_with_a_calculation_by_hand():
    calibration = Calibration(num_bins=2)
    calibration.add(outcome((0.2, True), (0.6, True), (0.5, False)))  # 0.5 belongs to the bin that ends there
    calibration.add(outcome((1.0, True), (0.5, False)))
    low, high = calibration.bins
    assert (low.num_tokens, low.confidence, low.accuracy) == pytest.approx((3, 0.4, 1 / 3))
    assert (high.num_tokens, high.confidence, high.accuracy) == pytest.approx((2, 0.8, 1))
    assert calibration.expected_error == pytest.approx(3 / 5 * (0.4 - 1 / 3) + 2 / 5 * 0.2)
    record = calibration.to_json()
    assert record["expected_error"] == calibration.expected_error
    assert (record["confidence"], record["accuracy"]) == pytest.approx((2.8 / 5, 3 / 5))
    assert record["bins"][1] == {"num_tokens": 2, "confidence": pytest.approx(0.8), "accuracy": 1.0}


def test_a_model_that_is_right_as_often_as_it_is_confident_has_no_error():
    calibration = Calibration()
    calibration.add(outcome(*[(0.25, index < 25) for index in range(100)], *[(1.0, True)] * 7))
    assert calibration.expected_error == pytest.approx(0)
    assert Calibration().expected_error == 0
    assert Calibration().to_json()["bins"] == []


@pytest.mark.parametrize("is_right", [True, False])
def test_a_bin_of_any_size_can_be_drawn_with_all_its_tokens_right_or_all_wrong(tmp_path, is_right):
    pytest.importorskip("matplotlib")
    for first in (1, 16, 31):
        calibration = Calibration()
        for index in range(15):
            calibration.add(outcome(*[((index + 0.5) / 15, is_right)] * (first + index)))
        draw_calibration(calibration, tmp_path / "a.svg", name="m")
        assert f"over {sum(range(first, first + 15))} tokens" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_the_suffix_of_the_name_chooses_the_format_of_the_picture(tmp_path, name, start):
    pytest.importorskip("matplotlib")
    calibration = Calibration()
    calibration.add(outcome((0.2, True), (0.6, True), (0.5, False)))
    draw_calibration(calibration, tmp_path / name, name="my$model_$x")
    assert (tmp_path / name).read_bytes().startswith(start)
