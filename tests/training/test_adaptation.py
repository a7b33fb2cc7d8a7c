import numpy as np
import pytest

from gru_complete.model_dir import apply_delta
from gru_complete.training.adaptation import low_rank_delta


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return {"m": rng.standard_normal((7, 5)).astype(np.float32), "v": rng.standard_normal(7).astype(np.float32)}


def test_a_change_of_low_rank_is_kept_whole(weights):
    rng = np.random.default_rng(1)
    change = rng.standard_normal((7, 2)) @ rng.standard_normal((2, 5))
    after = {"m": weights["m"] + change.astype(np.float32), "v": weights["v"] * 2}
    delta = low_rank_delta(weights, after, rank=2)
    assert {name: array.shape for name, array in delta.items()} == {"m.left": (7, 2), "m.right": (2, 5), "v": (7,)}
    for name, array in apply_delta(weights, delta, name="delta").items():
        np.testing.assert_allclose(array, after[name], atol=1e-5)


def test_of_any_other_change_the_largest_part_is_kept(weights):
    change = np.zeros((7, 5), np.float32)
    change[1, 2], change[4, 0], change[5, 3] = 3.0, -2.0, 0.1
    delta = low_rank_delta(weights, {"m": weights["m"] + change, "v": weights["v"]}, rank=2)
    change[5, 3] = 0
    np.testing.assert_allclose(delta["m.left"] @ delta["m.right"], change, atol=1e-5)


def test_the_rank_is_no_larger_than_the_matrix(weights):
    after = {name: -array for name, array in weights.items()}
    delta = low_rank_delta(weights, after, rank=100)
    assert delta["m.left"].shape == (7, 5)
    np.testing.assert_allclose(apply_delta(weights, delta, name="delta")["m"], after["m"], atol=1e-5)
