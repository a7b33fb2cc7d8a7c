"""What the user asks `compare` for. This module imports no torch: the command line needs it before any work starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gru_complete.config import Config

if TYPE_CHECKING:
    from gru_complete.evaluation.pairs import Pair  # which imports torch

DEFAULT_CELLS = ("rnn", "gru-simple", "gru", "gru-reset-after", "lstm")

MATCHES = ("width", "parameters", "time")
"""What all cells may have in common; see ``comparison/settings.py``."""


@dataclass(frozen=True)
class ComparisonRequest:
    """What to compare, on which text, and how.

    Args:
        sources: files and directories; they are read once for each cell.
        directory: where the comparison is kept.
        config: settings for all cells; its ``model.cell`` and its n-gram settings are ignored.
        cells: the cells to compare, in this order.
        match: one of ``MATCHES``.
        pairs: minimal pairs to score, if any.
        recall_length: length of the copy task; None leaves the task out.
        recall_seconds: the most time that each cell is trained on that task.
        replace: whether another comparison in the directory may be thrown away.
    """

    sources: Sequence[str]
    directory: Path
    config: Config
    cells: Sequence[str] = DEFAULT_CELLS
    match: str = "width"
    pairs: Sequence[Pair] = ()
    recall_length: int | None = None
    recall_seconds: float = 180.0
    replace: bool = False
