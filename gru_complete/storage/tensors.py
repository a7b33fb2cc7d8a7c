"""Strict parsing, and checks, of the tensors in a safetensors file that a stranger may have written."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gru_complete.errors import ModelError
from gru_complete.storage.untrusted import json_object, short_repr, strict_json, whole_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_HEADER_BYTES = 1 << 20
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U32": "<u4", "U16": "<u2", "U8": "u1"}


def parse_safetensors(data: bytes, *, name: str) -> dict[str, NDArray[Any]]:
    """Parse a safetensors file, https://github.com/huggingface/safetensors#format, into read-only arrays.

    They are views of the data, or copies where a number would not begin at a multiple of its size.

    Stricter than the library, which accepts duplicate keys: tensors must cover the data without holes and overlaps.

    Args:
        data: the file.
        name: of the file, for messages.

    Returns:
        The tensors by name.

    Raises:
        ModelError: the bytes are not a safetensors file of plain numbers.
    """
    length = int.from_bytes(data[:8], "little")
    start = 8 + length
    if len(data) < 8 or data[8:9] != b"{" or length > _MAX_HEADER_BYTES or start > len(data):
        raise ModelError(f"{name} is not a safetensors file")
    header = strict_json(data[8:start], name=f"the header of {name}")
    header.pop("__metadata__", None)
    tensors: dict[str, NDArray[Any]] = {}
    spans: list[tuple[int, int]] = []
    for key, entry in header.items():
        where = f"tensor {short_repr(key)} of {name}"
        entry = json_object(entry, where, required=["dtype", "shape", "data_offsets"])
        dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        shape = whole_numbers(entry["shape"], f"the shape of {where}", max_items=8)
        span = whole_numbers(entry["data_offsets"], f"data_offsets of {where}", max_items=2)
        if dtype is None:
            raise ModelError(f"{where} has the dtype {short_repr(entry['dtype'])}; supported are {', '.join(_DTYPES)}")
        count = math.prod(shape)
        if len(span) != 2 or span[1] - span[0] != count * np.dtype(dtype).itemsize or start + span[1] > len(data):
            raise ModelError(f"{where} has a shape and data_offsets that do not agree")
        spans.append((span[0], span[1]))
        try:
            array = np.frombuffer(data, dtype, count, start + span[0]).reshape(shape)
        except ValueError:  # empty, and beyond what numpy can address: (0, 2**62)
            raise ModelError(f"{where} has the shape {shape}, which is too large") from None
        # Where the header is not padded: numpy takes such an array, but its memoryviews and C libraries do not.
        tensors[key] = array if array.flags.aligned else _read_only_copy(array)
    spans.sort()
    if [begin for begin, _ in [*spans, (len(data) - start, 0)]] != [0, *(end for _, end in spans)]:
        raise ModelError(f"{name} has tensors that overlap or leave holes")
    return tensors


def check_tensors(
    tensors: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    name: str,
    of_bytes: Collection[str] = (),
) -> None:
    """Compare tensors with the names, shapes and types that were expected, and refuse NaN and infinity.

    Args:
        tensors: by name.
        shapes: of those that are expected, by name.
        name: whose tensors they are, for messages.
        of_bytes: the names of those that are uint8; all others are float32.

    Raises:
        ModelError: up to 20 of the problems.
    """
    problems = [f"{key} is missing" for key in shapes if key not in tensors]
    for key, array in tensors.items():
        if key not in shapes:
            problems.append(f"{short_repr(key)} is not expected")
        elif array.shape != shapes[key]:
            problems.append(f"{key} has the shape {array.shape}, expected {shapes[key]}")
        elif array.dtype != (dtype := np.uint8 if key in of_bytes else np.float32):
            problems.append(f"{key} is {array.dtype}, expected {np.dtype(dtype)}")
        elif not np.isfinite(array).all():
            problems.append(f"{key} contains NaN or infinity")
    if problems:
        more = [f"and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise ModelError(f"{name} does not fit its manifest: {'; '.join([*problems[:20], *more])}")


def _read_only_copy(array: NDArray[Any]) -> NDArray[Any]:
    copy: NDArray[Any] = array.copy()
    copy.flags.writeable = False
    return copy
