"""Safetensors files: those of the library, hostile ones and damaged ones."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from gru_complete.errors import ModelError
from gru_complete.storage.tensors import parse_safetensors

GOOD = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4, dtype=np.uint8), "c": np.array(2.5)}


def pack(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_tensors_are_those_of_the_library_and_read_only():
    data = save(GOOD, metadata={"note": "for others"})
    tensors = parse_safetensors(data, name="weights")
    assert tensors.keys() == load(data).keys()
    for key, expected in load(data).items():
        np.testing.assert_array_equal(tensors[key], expected)
        assert tensors[key].dtype == expected.dtype
        assert not tensors[key].flags.writeable


@settings(max_examples=200, deadline=None)
@given(order=st.permutations([*GOOD, "d", "e"]), num_spaces=st.integers(0, 9), length=st.integers(0, 9))
def test_wherever_a_tensor_begins_its_numbers_can_be_used(order, num_spaces, length):
    """The library pads its header and sorts tensors by type; the format asks for neither."""
    arrays = {**GOOD, "d": np.arange(length, dtype=np.uint16), "e": np.arange(length, dtype=np.uint8)}
    header, data = {}, b""
    for key in order:
        end = len(data) + arrays[key].nbytes
        dtype = {"float32": "F32", "float64": "F64", "uint8": "U8", "uint16": "U16"}[arrays[key].dtype.name]
        header[key] = entry(list(arrays[key].shape), [len(data), end], dtype)
        data += arrays[key].tobytes()
    tensors = parse_safetensors(pack(json.dumps(header).encode() + b" " * num_spaces, data), name="weights")
    for key, array in arrays.items():
        assert tensors[key].flags.aligned
        assert not tensors[key].flags.writeable
        assert memoryview(tensors[key]).tolist() == array.tolist()


def test_a_file_without_tensors_has_none():
    assert parse_safetensors(pack({}, b""), name="weights") == {}


ATTACKS = {
    "nothing": b"",
    "seven bytes": b"1234567",
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "gguf": b"GGUF" + b"\0" * 100,
    "header of 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
    "header longer than the file": (3).to_bytes(8, "little") + b"{}",
    "header of 100 MB": (100_000_000).to_bytes(8, "little") + b"{}" + b" " * 100_000_000,
    "no JSON": pack(b"{]"),
    "no object": pack([1]),
    "deep": pack(b'{"a":' * 50_000),
    "no UTF-8": pack(b'{"\xff": 1}'),
    "duplicate tensor": pack(b'{"a":%s,"a":%s}' % ((json.dumps(entry([2], [0, 8])).encode(),) * 2)),
    "duplicate key": pack(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "unknown key": pack({"a": {**entry([2], [0, 8]), "hook": "os.system"}}),
    "missing key": pack({"a": {"dtype": "F32", "shape": [2]}}),
    "entry of no object": pack({"a": 3}),
    "unknown dtype": pack({"a": entry([2], [0, 8], "F33")}),
    "dtype of no text": pack({"a": entry([2], [0, 8], ["F32"])}),
    "overlap": pack({"a": entry([2], [0, 8]), "b": entry([1], [4, 8])}),
    "the same bytes twice": pack({"a": entry([2], [0, 8]), "b": entry([2], [0, 8])}),
    "hole at the start": pack({"a": entry([1], [4, 8])}),
    "hole in the middle": pack({"a": entry([1], [0, 4]), "b": entry([1], [8, 12])}, b"\0" * 12),
    "hole at the end": pack({"a": entry([1], [0, 4])}),
    "beyond the end": pack({"a": entry([3], [0, 12])}),
    "backwards": pack({"a": entry([2], [8, 0])}),
    "negative": pack({"a": entry([2], [-8, 0])}),
    "shape of too few": pack({"a": entry([1], [0, 8])}),
    "shape that overflows": pack({"a": entry([2**32, 2**32], [0, 8])}),
    "shape beyond 64 bits": pack({"a": entry([2**64], [0, 8])}),
    "empty and beyond addresses": pack({"a": entry([0, 2**62], [0, 0])}, b""),
    "negative shape": pack({"a": entry([-1, -2], [0, 8])}),
    "fractional shape": pack({"a": entry([2.0], [0, 8])}),
    "Boolean shape": pack({"a": entry([True, 2], [0, 8])}),
    "many dimensions": pack({"a": entry([1] * 100 + [2], [0, 8])}),
    "three offsets": pack({"a": entry([2], [0, 8, 8])}),
    "infinite offset": pack(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1e999]}}'),
}


@pytest.mark.parametrize("data", ATTACKS.values(), ids=ATTACKS)
def test_attacks_are_refused_by_name(data):
    with pytest.raises(ModelError, match="weights"):
        parse_safetensors(data, name="weights")


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(save(GOOD)) - 1), value=st.integers(0, 255), cut=st.integers(0, 3))
def test_damaged_bytes_give_tensors_or_one_error(position, value, cut):
    data = bytearray(save(GOOD))
    data[position] = value
    try:
        tensors = parse_safetensors(bytes(data[: len(data) - cut]), name="weights")
    except ModelError:
        return
    assert sum(tensor.nbytes for tensor in tensors.values()) == sum(tensor.nbytes for tensor in GOOD.values())
