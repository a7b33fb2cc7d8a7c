"""Strict reading of files that a stranger may have written: regular files, JSON objects and their fields."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gru_complete.errors import EnvironmentFailure, ModelError, printable
from gru_complete.storage.os_calls import CAREFUL_FLAGS, is_shortage, not_regular, os_reason


def read_regular_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a file once and whole, and only if it is an ordinary file of bounded size.

    Raises:
        ModelError: it is missing, a link, a FIFO, a device, a directory, too large or unreadable.
    """
    with opened_regular_file(path) as descriptor:
        parts: list[bytes] = []
        missing = max_bytes + 1  # one more than allowed, to notice a larger file
        while missing and (part := os.read(descriptor, min(missing, os.fstat(descriptor).st_size + 1))):
            parts.append(part)
            missing -= len(part)
    if not missing:
        raise ModelError(f"{printable(path)} is larger than {max_bytes} bytes")
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def opened_regular_file(path: Path) -> Iterator[int]:
    """A descriptor for reading a file, if it is an ordinary one; links are not followed, FIFOs not waited for.

    Raises:
        ModelError: it is missing, a link, a FIFO, a device, a directory or unreadable, also within the block.
        EnvironmentFailure: too many files are open, or there is no memory.
    """
    name = printable(path)
    try:
        _check_regular(os.lstat(path), name)  # before open(), which may wait for a FIFO or rewind a tape
        descriptor = os.open(path, os.O_RDONLY | CAREFUL_FLAGS)
        try:
            _check_regular(os.fstat(descriptor), name)
            yield descriptor
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ModelError(f"{name} is missing") from None
    except OSError as error:
        kind = EnvironmentFailure if is_shortage(error) else ModelError
        raise kind(f"{name} cannot be read: {os_reason(error)}") from error


def _check_regular(status: os.stat_result, name: str) -> None:
    if (kind := not_regular(status)) is not None:
        raise ModelError(f"{name} is {kind}; only regular files are read")


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def strict_json(data: bytes, *, name: str) -> dict[str, Any]:
    """Parse a JSON object; refuse what parsers disagree about: duplicate keys, NaN, infinities, other encodings.

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
            raise ValueError(f"the key {key[:60]!r} occurs twice")
        result[key] = value
    return result


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is not a finite number")
    return number


def check_format(value: Mapping[str, Any], expected: str, newest: int) -> None:
    """Check the fields ``format`` and ``version``.

    Raises:
        ModelError: another format, or a newer version than this program reads.
    """
    if value.get("format") != expected:
        raise ModelError(f"format is {short_repr(value.get('format'))}, not {expected!r}")
    version = whole_number(value.get("version"), "version", smallest=1)
    if version > newest:
        message = f"version {version} was made by a newer gru-complete; this one reads version {newest}"
        raise ModelError(message, hint="upgrade with: pip install --upgrade gru-complete")


def json_object(
    value: object, where: str, *, required: Sequence[str] | None = None, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """Check that a value is a JSON object with these keys, and return it.

    Args:
        value: anything from ``json``.
        where: what the value is, for messages.
        required: keys that it must have; None to accept any keys.
        optional: keys that it may have.

    Raises:
        ModelError: it is not an object, or a key is missing or unknown.
    """
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
    """Check that a value is an int from ``smallest`` to ``largest``, and return it; ``True`` is rejected.

    Args:
        value: from a file.
        where: the key, for the message.
        smallest: the least number that is allowed.
        largest: the greatest.

    Raises:
        ModelError: it is not.
    """
    if type(value) is not int or not smallest <= value <= largest:
        raise ModelError(f"{where} is {short_repr(value)}, not a whole number from {smallest} to {largest}")
    return value


def whole_numbers(value: object, where: str, *, max_items: int) -> list[int]:
    """Check that a value is a list of at most ``max_items`` ints, none of them negative, and return it.

    Raises:
        ModelError: it is not.
    """
    if not isinstance(value, list) or len(value) > max_items:
        raise ModelError(f"{where} is {short_repr(value)}, not a list of at most {max_items} whole numbers")
    return [whole_number(item, where, smallest=0) for item in value]


def short_repr(value: object) -> str:
    """A value from a stranger's file in short and printable form, for messages."""
    return f"a {type(value).__name__}" if isinstance(value, dict | list) else repr(value)[:60]
