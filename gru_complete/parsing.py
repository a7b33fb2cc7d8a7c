"""Strict parsing of what a stranger wrote: the fields of a JSON object, the tensors of a safetensors file."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gru_complete.errors import ModelError
from gru_complete.files import strict_json

_MAX_HEADER_BYTES = 1 << 20
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U32": "<u4", "U16": "<u2", "U8": "u1"}


def parse_safetensors(data: bytes, *, name: str) -> dict[str, NDArray[Any]]:
    """Read-only views of the tensors in a safetensors file, https://github.com/huggingface/safetensors#format.

    Stricter than the library, which takes duplicate keys: the tensors must cover the data without holes and overlaps.

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
        where = f"tensor {brief(key)} of {name}"
        entry = json_object(entry, where, required=["dtype", "shape", "data_offsets"])
        dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        shape = whole_numbers(entry["shape"], f"the shape of {where}", most=8)
        span = whole_numbers(entry["data_offsets"], f"data_offsets of {where}", most=2)
        if dtype is None:
            raise ModelError(f"{where} has the dtype {brief(entry['dtype'])}; known are {', '.join(_DTYPES)}")
        count = math.prod(shape)
        if len(span) != 2 or span[1] - span[0] != count * np.dtype(dtype).itemsize or start + span[1] > len(data):
            raise ModelError(f"{where} has a shape and data_offsets that do not agree")
        spans.append((span[0], span[1]))
        try:
            tensors[key] = np.frombuffer(data, dtype, count, start + span[0]).reshape(shape)
        except ValueError:  # empty, and beyond what numpy can address: (0, 2**62)
            raise ModelError(f"{where} has the shape {shape}, which is too large") from None
    spans.sort()
    if [begin for begin, _ in [*spans, (len(data) - start, 0)]] != [0, *(end for _, end in spans)]:
        raise ModelError(f"{name} has tensors that overlap or leave holes")
    return tensors


def check_format(value: Mapping[str, Any], expected: str, newest: int) -> None:
    """Refuse what says that it is something else, or of a newer version than this program reads."""
    if value.get("format") != expected:
        raise ModelError(f"format is {brief(value.get('format'))}, not {expected!r}")
    version = whole_number(value.get("version"), "version", smallest=1)
    if version > newest:
        message = f"version {version} was made by a newer gru-complete; this one reads version {newest}"
        raise ModelError(message, hint="upgrade with: pip install --upgrade gru-complete")


def json_object(
    value: object, where: str, *, required: Sequence[str] | None = None, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The value, if it is a JSON object with these keys (any keys, if none are named)."""
    if not isinstance(value, dict):
        raise ModelError(f"{where} is {brief(value)}, not an object")
    if required is not None:
        for key in required:
            if key not in value:
                raise ModelError(f"{where} has no {key!r}")
        for key in value:
            if key not in required and key not in optional:
                raise ModelError(f"{where} has the unknown key {brief(key)}")
    return value


def whole_number(value: object, where: str, *, smallest: int, largest: int = 2**63 - 1) -> int:
    """The value, if it is an int of this range; ``True`` is none."""
    if type(value) is not int or not smallest <= value <= largest:
        raise ModelError(f"{where} is {brief(value)}, not a whole number from {smallest} to {largest}")
    return value


def whole_numbers(value: object, where: str, *, most: int) -> list[int]:
    """The value, if it is a list of at most so many ints, none of them negative."""
    if not isinstance(value, list) or len(value) > most:
        raise ModelError(f"{where} is {brief(value)}, not a list of at most {most} whole numbers")
    return [whole_number(item, where, smallest=0) for item in value]


def brief(value: object) -> str:
    """A value from a stranger's file, fit for a message."""
    return f"a {type(value).__name__}" if isinstance(value, dict | list) else repr(value)[:60]
