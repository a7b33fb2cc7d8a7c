"""Models and run directories as a stranger might make them: changed anywhere, with checksums that agree again.

A directory is a mapping from file names to bytes. An attack changes it in place, by a random generator alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from gru_complete.storage.untrusted import sha256_hex

Files = dict[str, bytes]
Attack = Callable[[Files, random.Random], None]

MANIFEST = "manifest.json"
STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 255, 2**31, 2**63, 2**64, 10**30, 10**400, 0.5, -0.0, 1e308, "", "x", "../x",
    "/dev/zero", "\x1b[31m", "é", "9" * 300, [], [1], [[]], [-1, 2], {}, {"a": 1}, {"": None}, "gru", "F32", "I64",
]  # fmt: skip
EXTREMES = [0.0, -0.0, 1e-45, 1e30, -1e30, 3.4e38, -3.4e38, np.nan, np.inf, -np.inf]
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U32": "<u4", "U16": "<u2", "U8": "u1"}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def list_again(files: Files, manifest: str = MANIFEST) -> None:
    """Make the sizes and checksums in a manifest those of the files beside it."""
    folder = manifest.removesuffix(MANIFEST)
    value = json.loads(files[manifest])
    for name, record in value["files"].items():
        data = files[folder + name]
        record |= {"bytes": len(data), "sha256": sha256_hex(data)}
    files[manifest] = json.dumps(value).encode()


def change_json(value: Any, rng: random.Random) -> Any:
    """Change something in a JSON value: another value, a key or an item more or less, two that trade places."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.02:
        return deepcopy(rng.choice(STRANGE))
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    action = rng.randrange(6)
    if action == 0:
        del value[key]
    elif action == 1 and isinstance(value, dict):
        value[rng.choice(["", "hook", "format", "x-note", str(key) + "2", "../../x"])] = deepcopy(rng.choice(STRANGE))
    elif action == 1:
        value.insert(key, deepcopy(rng.choice(STRANGE)))
    elif action == 2:
        other = rng.choice(keys)
        value[key], value[other] = value[other], value[key]
    else:
        value[key] = change_json(value[key], rng)
    return value


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change some bytes, cut the end off, or add or repeat a piece."""
    changed = bytearray(data or b"\0")
    at = rng.randrange(len(changed))
    action = rng.randrange(5)
    if action == 0:
        del changed[at:]
    elif action == 1:
        changed[at:at] = rng.randbytes(rng.randint(1, 20))
    elif action == 2:
        changed[at:at] = changed[at : at + rng.randint(1, 200)]
    else:
        for _ in range(rng.choice([1, 1, 3, 30])):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the data of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def pack(header: Any, body: bytes, padding: int = 0) -> bytes:
    """A safetensors file."""
    text = (header if isinstance(header, bytes) else json.dumps(header).encode()) + b" " * padding
    return len(text).to_bytes(8, "little") + text + body


def arrays_of(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, to be changed."""
    header, body = unpack(data)
    arrays = {}
    for key, entry in header.items():
        if key != "__metadata__":
            start, end = entry["data_offsets"]
            arrays[key] = np.frombuffer(body[start:end], DTYPES[entry["dtype"]]).reshape(entry["shape"]).copy()
    return arrays


def pack_arrays(arrays: dict[str, np.ndarray], rng: random.Random) -> bytes:
    """A safetensors file with the tensors in any order and the header padded or not, as the format allows."""
    header, body = {}, b""
    for key in rng.sample(list(arrays), len(arrays)):
        data = np.ascontiguousarray(arrays[key]).tobytes()
        shape, span = list(arrays[key].shape), [len(body), len(body) + len(data)]
        header[key] = {"dtype": NAMES[arrays[key].dtype], "shape": shape, "data_offsets": span}
        body += data
    return pack(header, body, rng.randrange(9))


def change_arrays(arrays: dict[str, np.ndarray], rng: random.Random) -> None:
    """Change a tensor so that its header still describes it: values, type, shape, length, name; or drop or add one."""
    key = rng.choice(list(arrays))
    array = arrays[key]
    action = rng.randrange(9)
    if action < 4 and array.size:
        flat = array.reshape(-1)
        for _ in range(rng.choice([1, 5, array.size])):
            if array.dtype.kind == "f":
                flat[rng.randrange(array.size)] = rng.choice(EXTREMES)
            else:
                flat[rng.randrange(array.size)] = rng.randrange(int(np.iinfo(array.dtype).max) + 1)
        arrays[key] = flat.reshape(array.shape)
    elif action == 4:
        arrays[key] = array.astype(rng.choice(list(DTYPES.values())))
    elif action == 5:
        arrays[key] = rng.choice([array.reshape(-1), array[None], array.T, np.zeros((0, *array.shape), array.dtype)])
    elif action == 6:
        arrays[key] = array[: rng.randrange(len(array) + 1)] if array.ndim else array.reshape(1)
    elif action == 7:
        arrays[rng.choice([key, *STRANGE[16:20], "x"])] = arrays.pop(key)
    elif rng.random() < 0.5:
        del arrays[key]
    else:
        arrays["more"] = np.zeros(rng.randrange(9), rng.choice(list(DTYPES.values())))


def change_fields(data: bytes, rng: random.Random) -> bytes:
    """Change the fields of a protobuf message: drop, repeat or exchange some, or change the bytes of one."""
    fields, at = [], 0
    while at < len(data):
        start = at
        at += 1
        length = shift = 0
        while at < len(data):
            length |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                break
        if data[start] & 7 == 2:
            at += length
        fields.append(data[start:at])
    for _ in range(rng.choice([1, 2, 5])):
        one, two = rng.randrange(len(fields)), rng.randrange(len(fields))
        action = rng.randrange(4)
        if action == 0:
            del fields[one]
        elif action == 1:
            fields.insert(one, fields[two])
        elif action == 2:
            fields[one], fields[two] = fields[two], fields[one]
        else:
            fields[one] = change_bytes(fields[one], rng)
        fields = fields or [b""]
    return b"".join(fields)


def attack_manifest(files: Files, rng: random.Random) -> None:
    """Change what a manifest says, and leave the files as they are."""
    value = json.loads(files[MANIFEST])
    for _ in range(rng.choice([1, 1, 2, 4])):
        value = change_json(value, rng) if isinstance(value, dict | list) else value
    files[MANIFEST] = json.dumps(value).encode()


def attack_tensor_header(name: str) -> Attack:
    """Change the header of a safetensors file as JSON, and leave its data as they are."""

    def attack(files: Files, rng: random.Random) -> None:
        header, body = unpack(files[name])
        header = change_json(header, rng)
        files[name] = pack(header, body, rng.randrange(9))
        list_again(files)

    return attack


def attack_tensors(name: str) -> Attack:
    """Change the tensors of a safetensors file, or only their order."""

    def attack(files: Files, rng: random.Random) -> None:
        arrays = arrays_of(files[name])
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            if arrays:
                change_arrays(arrays, rng)
        files[name] = pack_arrays(arrays, rng)
        list_again(files)

    return attack


def attack_bytes(name: str) -> Attack:
    """Change the bytes of a file."""

    def attack(files: Files, rng: random.Random) -> None:
        files[name] = change_bytes(files[name], rng)
        list_again(files)

    return attack


def attack_protobuf(name: str) -> Attack:
    """Change the fields of a tokenizer."""

    def attack(files: Files, rng: random.Random) -> None:
        files[name] = change_fields(files[name], rng)
        list_again(files)

    return attack


MODEL: dict[str, Attack] = {
    "manifest": attack_manifest,
    **{f"{name}, header": attack_tensor_header(f"{name}.safetensors") for name in ("weights", "ngrams")},
    **{f"{name}, tensors": attack_tensors(f"{name}.safetensors") for name in ("weights", "ngrams")},
    **{f"{name}, bytes": attack_bytes(f"{name}.safetensors") for name in ("weights", "ngrams")},
    "tokenizer, fields": attack_protobuf("tokenizer.model"),
    "tokenizer, bytes": attack_bytes("tokenizer.model"),
}
"""Attacks on a model."""


def attack_json_file(name: str) -> Attack:
    """Change a JSON file of a run directory that no checksum covers."""

    def attack(files: Files, rng: random.Random) -> None:
        if rng.random() < 0.1:
            files[name] = change_bytes(files[name], rng)
            return
        value = json.loads(files[name])
        for _ in range(rng.choice([1, 1, 2])):
            value = change_json(value, rng) if isinstance(value, dict | list) else value
        files[name] = json.dumps(value).encode()

    return attack


def attack_stream(part: str) -> Attack:
    """Change the token ids of a split, and make its header agree as far as a header can."""

    def attack(files: Files, rng: random.Random) -> None:
        header = json.loads(files[f"{part}.json"])
        tokens = np.frombuffer(files[f"{part}.tokens"], "<u2").copy()
        action = rng.randrange(4)
        if action == 0:
            tokens[rng.randrange(len(tokens))] = rng.choice([0, 1, 256, 257, 5000, 65535])
        elif action == 1:
            tokens = tokens[: rng.choice([0, 1, 2, 63, 64, rng.randrange(len(tokens))])]
        elif action == 2:
            tokens[tokens == 0] = rng.choice([1, 300])
        else:
            tokens[:] = rng.choice([0, 3])
        data = tokens.tobytes()
        header |= {"num_tokens": len(tokens), "sha256": sha256_hex(data)}
        if rng.random() < 0.7:
            header["num_documents"] = max(0, int((tokens == 0).sum()) - 1)
            header["num_bytes"] = rng.choice([header["num_bytes"], len(tokens), 0])
            header["num_chars"] = min(header["num_chars"], header["num_bytes"])
        files[f"{part}.tokens"], files[f"{part}.json"] = data, json.dumps(header).encode()

    return attack


def attack_checkpoint(change: Attack) -> Attack:
    """Change a file of the newest checkpoint, whose checksums agree again."""

    def attack(files: Files, rng: random.Random) -> None:
        newest = max(path for path in files if path.startswith("checkpoints/")).rpartition("/")[0] + "/"
        checkpoint = {path.removeprefix(newest): data for path, data in files.items() if path.startswith(newest)}
        change(checkpoint, rng)
        files |= {newest + path: data for path, data in checkpoint.items()}

    return attack


def listed(change: Attack) -> Attack:
    """An attack whose checksums are made again."""

    def attack(files: Files, rng: random.Random) -> None:
        change(files, rng)
        list_again(files)

    return attack


RUN_DIRECTORY: dict[str, Attack] = {
    "plan": attack_json_file("plan.json"),
    "text facts": attack_json_file("text.json"),
    **{f"{part} stream": attack_stream(part) for part in ("training", "tuning", "held_out")},
    **{f"{part} header": attack_json_file(f"{part}.json") for part in ("training", "tuning", "held_out")},
    "loop state": attack_checkpoint(listed(attack_json_file("loop.json"))),
    "optimizer, tensors": attack_checkpoint(attack_tensors("optimizer.safetensors")),
    "optimizer, header": attack_checkpoint(attack_tensor_header("optimizer.safetensors")),
    "checkpoint's weights": attack_checkpoint(attack_tensors("weights.safetensors")),
    "checkpoint's manifest": attack_checkpoint(attack_manifest),
    "metrics": lambda files, rng: files.update({"metrics.jsonl": change_bytes(files["metrics.jsonl"], rng)}),
    "tokenizer": lambda files, rng: files.update({"tokenizer.model": change_fields(files["tokenizer.model"], rng)}),
}
"""Attacks on the directory of an unfinished run."""
