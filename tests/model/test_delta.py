"""The change of an adapted model: packing, unpacking and what does not fit."""

import os

import numpy as np
import pytest
from safetensors.numpy import save

from gru_complete.errors import ModelError
from gru_complete.model.delta import apply_delta, pack_delta
from gru_complete.model.directory import load_model
from gru_complete.model.manifest import Base
from tests.model.models import (
    random_delta,
    swap_in,
    tiny_arch,
)


def test_an_adapted_model_is_its_base_plus_the_change(saved, adapted):
    base, model = load_model(saved), load_model(adapted)
    expected = apply_delta(base.weights, random_delta(base.manifest.arch), name="delta")
    assert model.weights.keys() == base.weights.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(model.weights[name], array)
    assert model.tokenizer.model_bytes == base.tokenizer.model_bytes
    assert model.manifest.base == Base("model", base.fingerprint)
    assert (model.manifest.arch, model.manifest.tokenizer) == (base.manifest.arch, base.manifest.tokenizer)
    assert (model.manifest.metrics, model.manifest.training) == ({"gain": 0.1}, {"finished": True})
    assert sorted(os.listdir(adapted)) == ["delta.safetensors", "manifest.json"]


@pytest.mark.parametrize("num_columns", [1, 4, 5])
def test_a_change_comes_back_to_within_half_a_step_of_its_row(num_columns):
    rng = np.random.default_rng(0)
    before = {"m": rng.standard_normal((6, num_columns)), "v": rng.standard_normal(3)}
    before = {name: array.astype(np.float32) for name, array in before.items()}
    after = {name: array + rng.standard_normal(array.shape).astype(np.float32) for name, array in before.items()}
    after["m"][2] = before["m"][2]
    delta = pack_delta(before, after)
    assert (delta["m.steps"].shape, delta["m.scale"].shape) == ((6, (num_columns + 1) // 2), (6,))
    changed = apply_delta(before, delta, name="delta")
    np.testing.assert_allclose(changed["v"], after["v"], rtol=1e-6)
    np.testing.assert_array_equal(changed["m"][2], before["m"][2])
    step = np.abs(after["m"] - before["m"]).max(axis=1, keepdims=True) / 7
    assert (np.abs(changed["m"] - after["m"]) <= step / 2 + 1e-6).all()


def test_a_change_is_unpacked_from_the_lower_half_of_a_byte_first():
    delta = {"m.steps": np.array([[0x2F, 0x08]], np.uint8), "m.scale": np.array([0.5], np.float32)}
    changed = apply_delta({"m": np.ones((1, 3), np.float32)}, delta, name="delta")
    np.testing.assert_array_equal(changed["m"], [[1 + 0.5 * 7, 1 + 0.5 * -6, 1]])


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("output_bias", None, "output_bias is missing"),
        ("embedding.steps", None, "embedding.steps is missing"),
        ("embedding.scale", lambda array: array[:1], "embedding.scale has the shape"),
        ("embedding.steps", lambda array: array[:, :0], "embedding.steps has the shape"),
        ("embedding.steps", lambda array: array.astype(np.float32), "embedding.steps is float32, expected uint8"),
        ("embedding", lambda _: np.zeros((2, 2), np.float32), "'embedding' is not expected"),
        ("cells.0.bias", lambda array: array.astype(np.float64), "cells.0.bias is float64, expected float32"),
        ("cells.0.bias", lambda array: array * np.float32(np.nan), "cells.0.bias contains NaN"),
        ("projection.scale", lambda array: array + np.float32(3e38), "projection contains NaN or infinity"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(adapted, tokenizer, name, change, problem):
    delta = random_delta(tiny_arch(tokenizer))
    if change is None:
        del delta[name]
    else:
        delta[name] = change(delta.get(name))
    swap_in(adapted, "delta.safetensors", save({key: np.ascontiguousarray(array) for key, array in delta.items()}))
    with pytest.raises(ModelError, match=problem):
        load_model(adapted)
