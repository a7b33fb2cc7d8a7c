"""Figures of a cell that were measured before, in ``CELL.figures.json`` (a file format)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gru_complete.errors import ModelError
from gru_complete.storage import atomic, untrusted

MAX_CACHE_BYTES = 10_000_000


class FigureCache:
    """Figures by name, each valid for one key: what the figures were measured of.

    Args:
        path: the file; it is written after every measurement, and a damaged one counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, Any] = {}
        with suppress(ModelError):
            data = untrusted.read_regular_file(path, max_bytes=MAX_CACHE_BYTES)
            self._entries = untrusted.strict_json(data, name=path.name)

    def get(self, name: str, key: str) -> dict[str, Any] | None:
        """Figures that were measured with this key; None if there are none."""
        entry = self._entries.get(name)
        if not isinstance(entry, dict) or entry.get("key") != key:
            return None
        figures: dict[str, Any] = entry["figures"]
        return figures

    def put(self, name: str, key: str, figures: dict[str, Any]) -> dict[str, Any]:
        """Write figures to the file, and return them."""
        self._entries[name] = {"key": key, "figures": figures}
        atomic.write_file(self.path, json.dumps(self._entries).encode())
        return figures

    def get_or_measure(self, name: str, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Figures with this key, measured now if they were not before."""
        figures = self.get(name, key)
        return self.put(name, key, measure()) if figures is None else figures
