"""The run directory ``NAME.run`` beside a model, which holds all of a training but its model.

This is the only module that knows what the files are called::

    lock                 held while a training runs; its presence marks a directory of ours
    tokenizer.model      what cut the text into tokens
    training.tokens      the token stream of each split, with a header beside it (training.json); likewise
                         tuning.tokens (the validation split) and, if text was held out, held_out.tokens
    text.json            facts about the text: its abbreviations, what it is made of, where documents were cut apart
    plan.json            all settings and the number of steps; from here on the run can be resumed
    metrics.jsonl        the log of the training, an event a line
    checkpoints/         step-N directories
    finished             empty; the model beside the run directory is complete

The names are a file format. Nothing here needs torch, and a completion imports this module: keep it light.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gru_complete.errors import ModelError, printable
from gru_complete.storage import atomic, lock, untrusted

if TYPE_CHECKING:
    from gru_complete.arrays import TokenIds
    from gru_complete.text.shards import ShardHeader
    from gru_complete.text.tokenizer import Tokenizer

Part = Literal["training", "tuning", "held_out"]
PARTS: tuple[Part, ...] = ("training", "tuning", "held_out")
TEXT_FACTS_FILE = "text.json"
_MAX_TEXT_FACTS_BYTES = 64 * 1024


class OtherTrainingError(ModelError):
    """What lies beside a model was left by another training than the one that made it."""


class RunDir(NamedTuple):
    """The files of one training, or of a text that several trainings share.

    Attributes:
        path: the directory.
    """

    path: Path

    @classmethod
    def beside(cls, model_path: Path) -> RunDir:
        """The run directory of a model: ``NAME.run`` beside ``NAME``."""
        return cls(model_path.with_name(f"{model_path.name}.run"))

    @property
    def plan_path(self) -> Path:
        """All settings and the number of steps (``training/plan.py``)."""
        return self.path / "plan.json"

    @property
    def metrics_path(self) -> Path:
        """The log of the training (``training/metrics_log.py``)."""
        return self.path / "metrics.jsonl"

    @property
    def finished_path(self) -> Path:
        """An empty file, written when the model is complete."""
        return self.path / "finished"

    @property
    def checkpoints_dir(self) -> Path:
        """The checkpoints (``training/checkpoint.py``)."""
        return self.path / "checkpoints"

    @property
    def tokenizer_path(self) -> Path:
        """The tokenizer's model."""
        return self.path / "tokenizer.model"

    @property
    def text_facts_path(self) -> Path:
        """Facts about the text, as ``text_facts`` reads them."""
        return self.path / TEXT_FACTS_FILE

    def part_path(self, part: Part) -> Path:
        """The token stream of a split of the text."""
        return self.path / f"{part}.tokens"

    def has_part(self, part: Part) -> bool:
        """Whether the token stream of a split is there; held-out text is kept only if the settings ask for it."""
        return self.part_path(part).exists()

    def read_part(self, part: Part, tokenizer: Tokenizer, *, hint: str | None = None) -> tuple[TokenIds, ShardHeader]:
        """The token stream of a split, ``(N,)``, with its header.

        Args:
            part: which split.
            tokenizer: the model's, which must be the one that cut the text.
            hint: what to try if another one did.

        Raises:
            OtherTrainingError: another tokenizer cut the text.
            ModelError: the stream is missing or damaged.
        """
        from gru_complete.text.shards import read_shard  # here, so that a completion does not wait for it

        stream, header = read_shard(self.part_path(part))
        if header.tokenizer_sha256 != tokenizer.sha256:
            raise self.other_training(hint=hint)
        if int(stream.max()) >= tokenizer.vocab_size:
            raise ModelError(f"{printable(self.part_path(part))} is damaged: it has tokens that the tokenizer lacks")
        return stream, header

    def text_facts(self) -> dict[str, Any]:
        """Facts about the text; the values are for the caller to check.

        Raises:
            ModelError: they are missing or damaged.
        """
        data = untrusted.read_regular_file(self.text_facts_path, max_bytes=_MAX_TEXT_FACTS_BYTES)
        facts: dict[str, Any] = untrusted.strict_json(data, name=TEXT_FACTS_FILE)
        return facts

    def other_training(self, *, hint: str | None = None) -> OtherTrainingError:
        """The error for a run directory that is not that of the model beside it."""
        message = f"{printable(self.path)} belongs to another training than the model beside it"
        return OtherTrainingError(message, hint=hint or "train the model again with --replace")

    def is_ours(self) -> bool:
        """Whether this program made the directory; an empty one may be what a kill before the first file has left."""
        if os.path.lexists(self.path / lock.LOCK_FILE):
            return True
        with suppress(OSError):  # it is missing, or cannot be read
            return not os.listdir(self.path)
        return False

    def refuse_link(self) -> None:
        """Refuse a link to a directory, whose files would be replaced; links further up in the path are the user's.

        Raises:
            ModelError: the run directory is a symbolic link.
        """
        if os.path.islink(self.path):
            message = f"{printable(self.path)} is a symbolic link, which a run directory never is"
            raise ModelError(message, hint="delete the link, or give the model another place with -m")

    def is_finished(self) -> bool:
        """Whether the training has left its model."""
        return self.finished_path.exists()

    def is_resumable(self) -> bool:
        """Whether an unfinished training can continue."""
        return self.plan_path.exists() and not self.is_finished()

    def remove(self) -> None:
        """Delete the directory, unless a training is using it.

        Raises:
            ModelError: this program did not make it.
            BusyError: a training is running there.
            EnvironmentFailure: the disk or a permission refused.
        """
        self.refuse_link()
        if not self.is_ours():
            raise ModelError(f"{printable(self.path)} is not a run directory")
        with lock.DirectoryLock(self.path):
            pass  # Windows cannot delete a directory whose lock is held
        atomic.remove_directory(self.path)
