"""Weights in eight bits: each number of a matrix as a multiple, from -127 to 127, of a scale of its row.

Shapes: R rows and n columns of a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gru_complete.arrays import Weights
from gru_complete.storage.tensors import check_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODES_SUFFIX, _SCALE_SUFFIX = ".codes", ".scale"  # names in the file, so a format
_ZERO = 128  # the code of 0
_LARGEST = 127


def quantize(weights: Weights) -> dict[str, NDArray[Any]]:
    """The tensors from which ``dequantize`` computes nearly the same weights.

    A matrix ``x`` becomes ``x.scale``, float32 ``(R,)``, and ``x.codes``, uint8 ``(R, n)``: how many times the scale of
    its row each number is, plus 128. Vectors stay as they are.
    """
    tensors: dict[str, NDArray[Any]] = {}
    for name, array in weights.items():
        if array.ndim == 1:
            tensors[name] = array
            continue
        scale = np.abs(array).max(axis=1, initial=0) / np.float32(_LARGEST)
        multiples = np.rint(array / np.where(scale > 0, scale, 1)[:, None])
        tensors[name + _CODES_SUFFIX] = (multiples + _ZERO).astype(np.uint8)
        tensors[name + _SCALE_SUFFIX] = scale.astype(np.float32)
    return tensors


def is_quantized(tensors: Mapping[str, object]) -> bool:
    """Whether these are tensors that ``quantize`` made, and not weights."""
    return any(name.endswith(_CODES_SUFFIX) for name in tensors)


def dequantize(
    tensors: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], *, name: str
) -> dict[str, NDArray[np.float32]]:
    """The weights that tensors stand for; they may come from a stranger.

    Args:
        tensors: what ``quantize`` returned.
        shapes: of the weights, by name.
        name: of the file, for messages.

    Raises:
        ModelError: names, shapes or types are not those of these weights.
    """
    expected: dict[str, tuple[int, ...]] = {}
    of_bytes = {key + _CODES_SUFFIX for key in shapes}
    for key, shape in shapes.items():
        if len(shape) == 1:
            expected[key] = shape
        else:
            expected[key + _CODES_SUFFIX], expected[key + _SCALE_SUFFIX] = shape, shape[:1]
    check_tensors(tensors, expected, name=name, of_bytes=of_bytes)
    weights = {}
    for key, shape in shapes.items():
        if len(shape) == 1:
            weights[key] = np.asarray(tensors[key])
            continue
        array = np.subtract(tensors[key + _CODES_SUFFIX], _ZERO, dtype=np.float32)
        with np.errstate(over="ignore"):  # the caller checks that the weights are finite
            array *= tensors[key + _SCALE_SUFFIX][:, None]
        weights[key] = array
    return weights
