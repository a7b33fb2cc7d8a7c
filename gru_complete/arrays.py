"""The package's names for numpy arrays, and the integer type that holds a token id.

Shapes are given where an array is used, in the letters of ``docs/glossary.md``. Nothing here needs ``numpy.typing``:
`complete` would have to wait for its import.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

FloatArray = np.ndarray[Any, np.dtype[np.floating[Any]]]
"""Float32 or float64."""
Float32Array = np.ndarray[Any, np.dtype[np.float32]]
Float64Array = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.integer[Any]]]
IndexArray = np.ndarray[Any, np.dtype[np.intp]]
"""What numpy indexes with."""
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
Weights = Mapping[str, Float32Array]
"""The weights of a model by the names of ``Architecture.tensor_shapes``."""
TokenIds = np.ndarray[Any, np.dtype[np.integer[Any]]]
"""A stream of token ids, ``(N,)``, perhaps memory-mapped."""


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every token id of a vocabulary."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
