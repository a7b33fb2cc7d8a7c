"""What a training reports, event by event; the library itself never prints.

Events with a ``log_name`` are logged in ``NAME.run/metrics.jsonl`` under that name, which is a file format: it stays as
it is, whatever the class is called.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gru_complete.text.corpus import CorpusReport
from gru_complete.text.secrets import SecretsReport
from gru_complete.training.plan import Plan


@dataclass(frozen=True)
class Note:
    """Something the user should know but need not act on."""

    message: str


@dataclass(frozen=True)
class Working:
    """A stage other than the steps begins, e.g. "training the tokenizer"."""

    stage: str


@dataclass(frozen=True)
class CorpusRead:
    """The corpus was read and checked."""

    report: CorpusReport


@dataclass(frozen=True)
class SecretsFound:
    """The corpus contains what looks like secrets; the report has kinds, counts and places, but no values."""

    report: SecretsReport


@dataclass(frozen=True)
class Planned:
    """The plan is made, or read again if the run is resumed after ``step`` updates."""

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
    """The tuning split (the validation split) was scored and, unless ``checkpoint`` is None, the step saved.

    ``seconds`` is the time that the steps of the run have taken so far, over all sessions.
    """

    log_name: ClassVar[str] = "looked"
    step: int
    tuning_bits_per_byte: float
    is_best: bool
    checkpoint: Path | None
    seconds: float


@dataclass(frozen=True)
class Replanned:
    """The machine is faster or slower than probed; the number of steps was changed."""

    log_name: ClassVar[str] = "replanned"
    step: int
    max_steps: int


@dataclass(frozen=True)
class RolledBack:
    """Numbers were not finite at ``step``; training continues from ``to_step`` at half the learning rate."""

    log_name: ClassVar[str] = "wentback"
    step: int
    to_step: int
    rate_scale: float


@dataclass(frozen=True)
class Finished:
    """The model directory is written, ``num_bytes`` in all; ``metrics`` are those of its manifest.

    ``seconds`` are those of the whole command, of which ``preparing_seconds`` went by before the first step and
    ``closing_seconds`` after the last. ``uses_network`` is false if the network did harm beside the n-gram model, which
    then works alone. ``beginning`` is how a line or sentence of the text begins most often: a prompt to try.
    """

    model_path: Path
    step: int
    stopped_early: bool
    metrics: dict[str, float]
    num_bytes: int
    seconds: float
    preparing_seconds: float
    closing_seconds: float
    uses_network: bool
    beginning: str


Event = Note | Working | CorpusRead | SecretsFound | Planned | Stepped | Evaluated | Replanned | RolledBack | Finished
