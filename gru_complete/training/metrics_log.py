"""The log of a training, ``NAME.run/metrics.jsonl``: an event a line, as ``curve.py`` reads them.

Each line is a JSON object: the fields of the event, and ``event`` with its ``log_name``. The names are a file format.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from gru_complete.errors import EnvironmentFailure
from gru_complete.storage import atomic
from gru_complete.training.events import Evaluated, Event, Note, Replanned, RolledBack, Stepped

METRICS_EVERY = 10
"""Steps between the lines that log a step."""


class MetricsLog:
    """Appends events to a log. If that fails, training continues, and a note says once that the log has ended.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_broken = False

    def write(self, event: Event) -> Iterator[Note]:
        """Log every tenth step, and every evaluation and change of plan; yields a note if the log has ended."""
        if self.is_broken or not isinstance(event, Stepped | Evaluated | Replanned | RolledBack):
            return
        if isinstance(event, Stepped) and event.step % METRICS_EVERY:
            return
        fields = {key: value for key, value in dataclasses.asdict(event).items() if not isinstance(value, Path)}
        try:
            atomic.append_line(self.path, json.dumps({"event": event.log_name, **fields}))
        except EnvironmentFailure as error:
            self.is_broken = True
            yield Note(f"no more {self.path.name}: {error}")
