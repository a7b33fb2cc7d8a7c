"""The one JSON writer of the command line."""

import json
import math
from collections.abc import Mapping
from typing import Any


def json_line(record: Mapping[str, Any], *, is_ascii: bool = True, indent: int | None = None) -> bytes:
    r"""A record as one line of strict JSON: infinities and NaN, which JSON does not have, become null.

    Args:
        record: what ``json`` can write.
        is_ascii: whether other characters are written as ``\uXXXX``; if not, they are written in UTF-8, and only lone
            surrogates (bytes of file names that are not UTF-8) are escaped.
        indent: spaces per level; None writes everything on one line.
    """
    text = json.dumps(_without_infinities(record), ensure_ascii=is_ascii, indent=indent, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _without_infinities(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
