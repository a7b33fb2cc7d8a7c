"""What `compare` reports while it works, besides the events of training."""

from dataclasses import dataclass

from gru_complete.comparison.recall import RecallStep
from gru_complete.comparison.results import CellResult
from gru_complete.comparison.settings import ResolvedSettings
from gru_complete.training.events import Event


@dataclass(frozen=True)
class CellStarted:
    """The training of a cell starts or continues; ``number`` counts from 1."""

    cell: str
    number: int
    num_cells: int


@dataclass(frozen=True)
class CellTrained:
    """The training of a cell has ended, now or in an earlier command."""

    cell: str


@dataclass(frozen=True)
class RecallProgress:
    """One update of a cell on the recall task; ``seconds`` is the most time that its training may take."""

    cell: str
    seconds: float
    progress: RecallStep


@dataclass(frozen=True)
class CellsCompared:
    """The last event: everything is measured."""

    settings: ResolvedSettings
    results: list[CellResult]


CompareEvent = Event | CellStarted | CellTrained | RecallProgress | CellsCompared
