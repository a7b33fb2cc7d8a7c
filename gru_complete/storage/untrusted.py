"""Strict reading of what a stranger may have written: a regular file, the fields of a JSON object, safetensors."""

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gru_complete.errors import ModelError, printable
from gru_complete.storage.os_calls import OPEN_FLAGS, os_reason

# A link is not followed, and opening a FIFO that nobody writes to does not wait.
_UNTRUSTED_READ_FLAGS = os.O_RDONLY | OPEN_FLAGS | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def read_regular_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a file that may come from a stranger: once, whole, and only if it is an ordinary file of bounded size.

    Raises:
        ModelError: it is missing, a link, a FIFO, a device, a directory, too large or unreadable.
    """
    name = printable(path)
    try:
        _check_regular(os.lstat(path), name)  # before open(), which may wait for, or rewind, what is no file
        descriptor = os.open(path, _UNTRUSTED_READ_FLAGS)
        try:
            _check_regular(os.fstat(descriptor), name)
            pieces: list[bytes] = []
            missing = max_bytes + 1
            while missing and (piece := os.read(descriptor, min(missing, os.fstat(descriptor).st_size + 1))):
                pieces.append(piece)
                missing -= len(piece)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ModelError(f"{name} is missing") from None
    except OSError as error:
        raise ModelError(f"{name} cannot be read: {os_reason(error)}") from error
    if not missing:
        raise ModelError(f"{name} is larger than {max_bytes} bytes")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check_regular(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a regular file"
        raise ModelError(f"{name} is {kind}; only regular files are read")


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def strict_json(data: bytes, *, name: str) -> dict[str, Any]:
    """Parse a JSON object and refuse what parsers disagree about: duplicate keys, NaN, infinities, anything but UTF-8.

    Raises:
        ModelError: ``name`` and what is wrong with it.
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique_pairs, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{printable(name)} is not usable JSON: {printable(str(error))[:200]}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{printable(name)} is not a JSON object")
    return value


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key[:60]!r} stands twice")
        result[key] = value
    return result


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is not a finite number")
    return number


def check_format(value: Mapping[str, Any], expected: str, newest: int) -> None:
    """Refuse what says that it is something else, or of a newer version than this program reads."""
    if value.get("format") != expected:
        raise ModelError(f"format is {short_repr(value.get('format'))}, not {expected!r}")
    version = whole_number(value.get("version"), "version", smallest=1)
    if version > newest:
        message = f"version {version} was made by a newer gru-complete; this one reads version {newest}"
        raise ModelError(message, hint="upgrade with: pip install --upgrade gru-complete")


def json_object(
    value: object, where: str, *, required: Sequence[str] | None = None, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The value, if it is a JSON object with these keys (any keys, if none are named)."""
    if not isinstance(value, dict):
        raise ModelError(f"{where} is {short_repr(value)}, not an object")
    if required is not None:
        for key in required:
            if key not in value:
                raise ModelError(f"{where} has no {key!r}")
        for key in value:
            if key not in required and key not in optional:
                raise ModelError(f"{where} has the unknown key {short_repr(key)}")
    return value


def whole_number(value: object, where: str, *, smallest: int, largest: int = 2**63 - 1) -> int:
    """The value, if it is an int of this range; ``True`` is none."""
    if type(value) is not int or not smallest <= value <= largest:
        raise ModelError(f"{where} is {short_repr(value)}, not a whole number from {smallest} to {largest}")
    return value


def whole_numbers(value: object, where: str, *, most: int) -> list[int]:
    """The value, if it is a list of at most so many ints, none of them negative."""
    if not isinstance(value, list) or len(value) > most:
        raise ModelError(f"{where} is {short_repr(value)}, not a list of at most {most} whole numbers")
    return [whole_number(item, where, smallest=0) for item in value]


def short_repr(value: object) -> str:
    """A value from a stranger's file, fit for a message."""
    return f"a {type(value).__name__}" if isinstance(value, dict | list) else repr(value)[:60]
