"""Strict parsing of the tensors in a safetensors file that a stranger may have written."""

from __future__ import annotations

import math
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


def _read_only_copy(array: NDArray[Any]) -> NDArray[Any]:
    copy: NDArray[Any] = array.copy()
    copy.flags.writeable = False
    return copy
