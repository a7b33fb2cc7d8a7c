"""What training tells whoever runs it, event by event; it never prints.

Events with a ``log_name`` are logged in ``NAME.run/metrics.jsonl`` under that name: it is a file format, and stays
as it is whatever the class is called.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gru_complete.text.corpus import CorpusReport
from gru_complete.text.secrets import SecretsReport
from gru_complete.training.plan import Plan


@dataclass(frozen=True)
class Note:
    """Something the user should know and need not act on."""

    message: str


@dataclass(frozen=True)
class Working:
    """A stage other than the steps has begun, e.g. "training the tokenizer"."""

    stage: str


@dataclass(frozen=True)
class CorpusRead:
    """The corpus was read and checked."""

    report: CorpusReport


@dataclass(frozen=True)
class SecretsFound:
    """There is in the corpus what looks secret; the report has kinds, counts and places, no values."""

    report: SecretsReport


@dataclass(frozen=True)
class Planned:
    """The plan is made (or found again, when a run is resumed at ``step``)."""

    plan: Plan
    num_parameters: int
    vocab_size: int
    num_training_tokens: int
    num_training_bytes: int
    step: int


@dataclass(frozen=True)
class Stepped:
    """One update was made; ``loss`` is the smoothed training loss in nats per token."""

    log_name: ClassVar[str] = "stepped"
    step: int
    max_steps: int
    loss: float
    learning_rate: float
    num_tokens: int


@dataclass(frozen=True)
class Evaluated:
    """The tuning part was scored and, where ``checkpoint`` is not None, the step saved.

    ``seconds`` is the time that the run's steps have taken so far, in all sessions.
    """

    log_name: ClassVar[str] = "looked"
    step: int
    tuning_bits_per_byte: float
    is_best: bool
    checkpoint: Path | None
    seconds: float


@dataclass(frozen=True)
class Replanned:
    """The machine is not as quick as probed; the number of steps was changed."""

    log_name: ClassVar[str] = "replanned"
    step: int
    max_steps: int


@dataclass(frozen=True)
class RolledBack:
    """Numbers were not finite at ``step``; training goes on from ``to_step`` with a lower learning rate."""

    log_name: ClassVar[str] = "wentback"
    step: int
    to_step: int
    rate_scale: float


@dataclass(frozen=True)
class Finished:
    """The model directory is written, ``num_bytes`` large; ``metrics`` are those of its manifest."""

    model_path: Path
    step: int
    stopped_early: bool
    metrics: dict[str, float]
    num_bytes: int
    seconds: float


Event = Note | Working | CorpusRead | SecretsFound | Planned | Stepped | Evaluated | Replanned | RolledBack | Finished
