"""Weights in eight bits, and files of strangers that claim to be such."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from gru_complete.errors import ModelError
from gru_complete.model.directory import load_model
from gru_complete.model.quantized import dequantize, is_quantized, quantize
from tests.model.models import random_weights, save_random_model, swap_in, tiny_arch

NUMBERS = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=NUMBERS),
    hnp.arrays(np.float32, 5, elements=NUMBERS),
)
def test_a_number_is_off_by_half_a_step_at_most_and_vectors_are_exact(matrix, vector):
    tensors = quantize({"matrix": matrix, "vector": vector})
    assert is_quantized(tensors)
    assert not is_quantized({"matrix": matrix})
    weights = dequantize(tensors, {"matrix": matrix.shape, "vector": vector.shape}, name="weights")
    np.testing.assert_array_equal(weights["vector"], vector)
    assert weights["matrix"].dtype == np.float32
    step = np.abs(matrix).max(axis=1, keepdims=True) / 127
    assert (np.abs(weights["matrix"] - matrix) <= 0.5001 * step + 1e-37).all()


def test_a_second_time_changes_nothing():
    matrix = {"matrix": np.random.default_rng(0).standard_normal((9, 30)).astype(np.float32)}
    once = dequantize(quantize(matrix), {"matrix": (9, 30)}, name="weights")
    twice = dequantize(quantize(once), {"matrix": (9, 30)}, name="weights")
    np.testing.assert_allclose(twice["matrix"], once["matrix"], rtol=1e-6)


def test_a_model_is_saved_in_a_quarter_of_the_bytes_and_loaded(tmp_path, tokenizer):
    arch = tiny_arch(tokenizer)._replace(embedding_size=64, hidden_size=64)
    weights = random_weights(arch)
    for name, is_small in (("whole", False), ("small", True)):
        save_random_model(tmp_path / name, tokenizer, arch=arch, weights=weights, is_quantized=is_small)
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("whole", "small")]
    assert sizes[1] < 0.31 * sizes[0]
    loaded = load_model(tmp_path / "small").weights
    for name, array in weights.items():
        assert np.abs(loaded[name] - array).max() <= 0.02
        assert loaded[name].dtype == np.float32


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("embedding.codes", lambda array: array.astype(np.float32)),
        ("embedding.codes", lambda array: array[1:]),
        ("embedding.scale", lambda array: array[:-1]),
        ("embedding.scale", lambda array: array * np.float32(np.nan)),
        ("embedding.scale", lambda array: array * 0 + np.float32(3e38)),
        ("output_bias", lambda array: array.astype(np.uint8)),
        ("embedding.codes", lambda array: None),
        ("embedding", lambda array: np.zeros((2, 2), np.float32)),
    ],
)
def test_a_strangers_tensors_that_do_not_fit_are_refused(tmp_path, tokenizer, name, change):
    path = tmp_path / "m"
    save_random_model(path, tokenizer, is_quantized=True)
    tensors = quantize(random_weights(tiny_arch(tokenizer)))
    tensors[name] = change(tensors.get(name))
    swap_in(path, "weights.safetensors", save({key: array for key, array in tensors.items() if array is not None}))
    with pytest.raises(ModelError, match=r"does not fit its manifest"):
        load_model(path)
